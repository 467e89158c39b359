//! What a run finds in its output and keeps there: the shard's lock, the records, the manifest.

use std::collections::BTreeMap;
use std::fs::{self, File};

use super::engine::{Run, RunError};
use super::manifest::Record;
use crate::synthesis::plan::PlanLine;
use crate::synthesis::store::{Store, StoreError};

impl Run<'_> {
    /// Takes the shard for this process, as long as the result lives; of a remote output there is
    /// nothing to take.
    ///
    /// # Errors
    /// [`RunError::Busy`], [`RunError::Store`].
    pub fn claim(&self) -> Result<Option<File>, RunError> {
        let Store::Local(folder) = self.out else { return Ok(None) };
        let path = folder.join(format!(".shard-{}-of-{}.lock", self.shard.index, self.shard.of));
        let local = |source| StoreError::Local { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(local)?;
        let file = File::create(&path).map_err(local)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Err(RunError::Busy { path }),
            Err(fs::TryLockError::Error(error)) => {
                log::warn!("{}: cannot be locked ({error}); going on", path.display());
                Ok(Some(file))
            }
        }
    }

    /// The shard's lines that have no record yet, and how many lines the shard has. A record whose clip
    /// is gone counts as none.
    ///
    /// # Errors
    /// [`RunError::Store`], [`RunError::Record`].
    pub fn pending(&self) -> Result<(Vec<&PlanLine>, usize), RunError> {
        let records = self.out.list("records")?;
        let clips = self.out.list("clips")?;
        let own: Vec<&PlanLine> =
            self.plan.lines.iter().skip(self.shard.index).step_by(self.shard.of).collect();
        let total = own.len();
        let mut pending = Vec::new();
        for line in own {
            let name = format!("{}.json", line.id);
            if records.contains_key(&name) {
                let record = self.record(&format!("records/{name}"))?;
                if record.synthesizer != self.synthesizer {
                    return Err(RunError::Record {
                        name: self.out.address(&format!("records/{name}")),
                        problem: format!(
                            "is {}'s, not {}'s: give another output",
                            record.synthesizer, self.synthesizer
                        ),
                    });
                }
                let there = record
                    .clip
                    .as_ref()
                    .is_none_or(|clip| clips.get(&format!("{}.mp4", line.id)) == Some(&clip.bytes));
                if there {
                    continue;
                }
                log::warn!("{}: the clip is gone and is made again", line.id);
            }
            pending.push(line);
        }
        Ok((pending, total))
    }

    fn record(&self, name: &str) -> Result<Record, RunError> {
        let damaged = |problem: String| RunError::Record { name: self.out.address(name), problem };
        let bytes = self.out.read(name)?.ok_or_else(|| damaged("is not there".into()))?;
        serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))
    }

    /// Mean seconds of the clips that are finished in the output, and their number; none if there are
    /// none.
    ///
    /// # Errors
    /// [`RunError::Store`], [`RunError::Record`].
    pub fn seconds_per_clip(&self) -> Result<Option<(f64, usize)>, RunError> {
        let (mut seconds, mut clips) = (0.0, 0);
        for name in self.out.list("records")?.keys() {
            let record = self.record(&format!("records/{name}"))?;
            seconds += record.seconds.synthesis + record.seconds.writing;
            clips += 1;
        }
        Ok((clips > 0).then(|| (seconds / clips as f64, clips)))
    }

    /// Writes `manifest.jsonl`: the records of all lines there are, of whatever shard, in the plan's
    /// order. Returns how many.
    ///
    /// Shards that finish at the same time both write it; whoever finds a record that came meanwhile
    /// writes again, so the last one to write has seen all.
    ///
    /// # Errors
    /// [`RunError::Store`], [`RunError::Record`].
    pub fn manifest(&self) -> Result<usize, RunError> {
        let mut known: BTreeMap<String, Record> = BTreeMap::new();
        let mut written = None;
        loop {
            let listed = self.out.list("records")?;
            for line in &self.plan.lines {
                let name = format!("{}.json", line.id);
                if listed.contains_key(&name) && !known.contains_key(&line.id) {
                    known.insert(line.id.clone(), self.record(&format!("records/{name}"))?);
                }
            }
            if written == Some(known.len()) {
                return Ok(known.len());
            }
            let records = self.plan.lines.iter().filter_map(|line| known.get(&line.id));
            let text: String = records
                .map(|r| serde_json::to_string(r).expect("strings, numbers and lists") + "\n")
                .collect();
            self.out.write("manifest.jsonl", text.into_bytes())?;
            written = Some(known.len());
        }
    }

    /// Removes what an earlier, killed run of this shard left half written.
    ///
    /// # Errors
    /// [`RunError::Store`].
    pub fn clean(&self, lines: &[&PlanLine]) -> Result<(), RunError> {
        for line in lines {
            drop(fs::remove_file(self.work.join(format!(".{}.mp4", line.id))));
        }
        let Store::Local(folder) = self.out else { return Ok(()) };
        for part in ["records", "labels"] {
            let Ok(entries) = fs::read_dir(folder.join(part)) else { continue };
            for path in entries.filter_map(|e| e.ok().map(|e| e.path())) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let own = lines.iter().any(|l| name.starts_with(&l.id));
                if own && name.ends_with(".part") {
                    fs::remove_file(&path).map_err(|source| StoreError::Local { path, source })?;
                }
            }
        }
        Ok(())
    }
}
