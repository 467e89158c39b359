//! A real MQTT broker (Mosquitto) on a free loopback port, to be killed and restarted at will.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where distributions put the program; it is seldom on a user's path.
const PLACES: [&str; 3] =
    ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"];

/// The program, if it is installed.
pub fn program() -> Option<&'static Path> {
    PLACES.iter().map(Path::new).find(|path| path.exists())
}

/// A broker that keeps sessions over a restart, as a real one does.
#[derive(Debug)]
pub struct Broker {
    /// Its port on 127.0.0.1.
    pub port: u16,
    config: PathBuf,
    child: Option<Child>,
}

impl Broker {
    /// Starts a broker that keeps its files in `folder`.
    ///
    /// # Errors
    /// If it is not installed, or does not answer.
    pub fn start(folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let port = free_port().map_err(|e| format!("no free port on 127.0.0.1: {e}"))?;
        let config = folder.join("mosquitto.conf");
        let place = folder.canonicalize().map_err(|e| format!("{}: {e}", folder.display()))?;
        // As root Mosquitto becomes another user, who may not read this folder.
        let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser {user}\npersistence true\n\
             persistence_location {}/\nautosave_interval 1\nautosave_on_changes true\n\
             max_queued_messages 0\nlog_dest none\n",
            place.display()
        );
        std::fs::write(&config, text).map_err(|e| format!("{}: {e}", config.display()))?;
        let mut broker = Self { port, config, child: None };
        broker.restart()?;
        Ok(broker)
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already; either way it no longer runs afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port.
    ///
    /// # Errors
    /// If it does not answer within ten seconds.
    pub fn restart(&mut self) -> Result<(), String> {
        self.kill();
        let program = program().ok_or("mosquitto is not installed: 'apt-get install mosquitto'")?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > deadline {
                return Err(format!("mosquitto does not answer on port {}", self.port));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
///
/// # Errors
/// If there is none.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
