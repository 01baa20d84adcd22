//! Master keys for hosts of tests.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::{HostPlan, scratch};

/// Keys as `trellis credentials new-key` prints them; good for tests alone.
pub const KEYS: [&str; 3] = [
    "1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "2 AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    "3 AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
];

/// A file with these lines that nobody else can read.
pub fn key_file(name: &str, lines: &[&str]) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, lines.join("\n")).expect("the scratch folder is ours");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

/// A host that can seal and open credentials; `name` is that of the file with its key.
pub fn with_keys(plan: HostPlan, name: &str) -> HostPlan {
    plan.set("credentials.master_key_file", &key_file(name, &KEYS[..1]).display().to_string())
}
