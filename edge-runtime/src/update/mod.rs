//! Updates: two slots, a trial, and a way back.
//!
//! # What lies in the folder (`updates.dir`)
//!
//! | File | Content | Written |
//! |---|---|---|
//! | `a.pavad`, `b.pavad` | the slots: whole bundles | by an install, only while [`State`] does not name the slot |
//! | `state.json` | [`State`]: the one place that says which slot counts | whole, through `state.part`, sync, rename, sync of the folder |
//! | `a.part`, `b.part`, `state.part` | being written; never read | |
//! | `lock` | held while an install, a rollback or a decision about a trial runs | never changes |
//!
//! | Field of `state.json` | Meaning |
//! |---|---|
//! | `epoch` | lowest security epoch that is accepted; never falls |
//! | `active` | slot of the bundle in use; none stands for `model.bundle` of the configuration |
//! | `trial` | slot of a new bundle that has yet to prove itself, and the starts it has left |
//! | `slots` | for each slot that holds a whole bundle: SHA-256, name, version, epoch, `candidate`, `good` or `bad` |
//!
//! # An install, step by step
//!
//! | Step | A cut afterwards leaves |
//! |---|---|
//! | 1. verify signature, device class and epoch of the bytes | nothing changed |
//! | 2. `state.json`: forget the inactive slot | the active bundle |
//! | 3. write, sync and rename the slot, sync the folder | the active bundle; the slot is not named and counts for nothing |
//! | 4. read the slot back, verify it, run its golden vectors | the same |
//! | 5. `state.json`: the slot is a candidate and on trial | the new bundle on trial |
//! | 6. the trial is passed: `state.json` makes it active and good, and raises the epoch | the new bundle |
//!
//! A trial is passed when the bundle has scored `updates.probation_frames` frames without a failure
//! of the model and `updates.probation_seconds` have passed. It ends badly with the first failure of
//! the model, or when the program has been started [`STARTS`] times without passing it (a model that
//! takes the process down does not get to report a failure). The bundle before it then runs again,
//! and the slot is `bad`.
//!
//! At each start the slot to run is verified again and its golden vectors are run; one that does not
//! pass gives way to the next of: trial, active slot, the other slot if it is good, the bundle of the
//! configuration. None is taken whose epoch is below the device's.

mod fetch;
mod progress;
mod state;
mod store;
mod watch;

pub use fetch::{fetch, is_url};
pub use progress::{Exchange, Offer};
pub use state::{Condition, Slot, SlotInfo, State, Trial};
pub use store::{Installed, Lock, STARTS, Selected, Store};
pub use watch::{Report, Watch, WatchSetup};
