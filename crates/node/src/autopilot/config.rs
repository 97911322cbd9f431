//! The configuration of autopilot. Source: Vault's API page `sys/storage/raft/autopilot`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::Stored;
use strongroom_engine_api::{EngineError, bad_request, format_duration};

/// The least number of voters that must remain: of two, a dead one leaves no majority to remove it.
const FEWEST_VOTERS: u64 = 3;
/// The least silence of a dead member, so that one that restarts is not taken for dead.
const SHORTEST_DEATH: Duration = Duration::from_mins(1);

/// The settings of autopilot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotConfig {
    /// True if dead members are removed.
    #[serde(rename = "c")]
    pub cleanup_dead_servers: bool,
    /// The longest silence of a healthy member.
    #[serde(rename = "l")]
    pub last_contact_threshold: Duration,
    /// After how long a silent member is dead.
    #[serde(rename = "d")]
    pub dead_server_last_contact_threshold: Duration,
    /// The number of log entries that a healthy member may be behind.
    #[serde(rename = "t")]
    pub max_trailing_logs: u64,
    /// The number of voters that removing dead ones must leave; 0 where none are removed.
    #[serde(rename = "q")]
    pub min_quorum: u64,
    /// The time that a new member must be healthy before it is given its vote.
    #[serde(rename = "s")]
    pub server_stabilization_time: Duration,
    /// Kept for clients that set it: there are no automated upgrades.
    #[serde(rename = "u")]
    pub disable_upgrade_migration: bool,
}

impl Default for AutopilotConfig {
    fn default() -> Self {
        Self {
            cleanup_dead_servers: false,
            last_contact_threshold: Duration::from_secs(10),
            dead_server_last_contact_threshold: Duration::from_hours(24),
            max_trailing_logs: 1000,
            min_quorum: 0,
            server_stabilization_time: Duration::from_secs(10),
            disable_upgrade_migration: false,
        }
    }
}

impl Stored for AutopilotConfig {}

impl AutopilotConfig {
    /// Says whether it may be kept.
    ///
    /// # Errors
    ///
    /// [`EngineError`], a 400: removing the dead without saying how many voters must stay, or after so short a time
    /// that one which restarts would be removed.
    pub fn check(&self) -> Result<(), EngineError> {
        if self.cleanup_dead_servers && self.min_quorum < FEWEST_VOTERS {
            return Err(bad_request(format!(
                "cleanup_dead_servers needs a min_quorum of at least {FEWEST_VOTERS}; it is {}",
                self.min_quorum
            )));
        }
        if self.dead_server_last_contact_threshold < SHORTEST_DEATH {
            return Err(bad_request(format!(
                "dead_server_last_contact_threshold must be at least {}; it is {}",
                format_duration(SHORTEST_DEATH),
                format_duration(self.dead_server_last_contact_threshold)
            )));
        }
        Ok(())
    }
}
