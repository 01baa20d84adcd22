//! A disk that is soon full: a small file system in memory, mounted in the scratch folder.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::scratch;

pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// None: this process may not mount anything.
    pub fn mount(name: &str, mebibytes: u32) -> Option<Self> {
        let path = scratch().join(name);
        fs::create_dir(&path).expect("the scratch folder is ours");
        let size = format!("size={mebibytes}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).expect("the disk is ours");
        fs::set_permissions(self.ballast(), fs::Permissions::from_mode(0o600)).expect("it is ours");
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![b'x'; size];
            while ballast.write_all(&block).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still works there goes on, and it is gone when they are.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}
