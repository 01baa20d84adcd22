//! What can be found out of a configuration before a host starts: the files that it names, the folder, the port.
//!
//! Looks and changes nothing. What needs a database or an engine shows when they are opened.

use std::{net::TcpListener, path::Path};

use rustix::fs::Access;

use crate::{config::Config, credentials, server::given_operator_token};

/// One setting that leads to something outside of the configuration.
#[derive(Debug)]
pub struct Finding {
    /// Dotted.
    pub setting: &'static str,
    /// What was found, or what is wrong.
    pub found: Result<String, String>,
    /// How to mend it.
    pub fix: &'static str,
}

/// The files that the configuration names. Those that it does not name are left out.
pub fn files(config: &Config) -> Vec<Finding> {
    let operator_token = config.tokens.operator_file.as_ref().map(|path| Finding {
        setting: "tokens.operator_file",
        found: given_operator_token(&config.tokens)
            .map(|_| format!("{} holds an operator token", path.display()))
            .map_err(|error| format!("{error:#}")),
        fix: "write a token there: `trellis token generate > FILE && chmod 600 FILE`",
    });
    let has_keys = config.credentials.master_key_file.is_some() || config.credentials.master_key.is_some();
    let master_keys = has_keys.then(|| Finding {
        setting: if config.credentials.master_key_file.is_some() {
            "credentials.master_key_file"
        } else {
            "credentials.master_key"
        },
        found: credentials::keyring(&config.credentials)
            .map(|_| "the master keys can be read".to_owned())
            .map_err(|error| error.to_string()),
        fix: "make a key with `trellis credentials new-key`, or name the file that has them",
    });
    let certificates = config.egress.ca_file.as_ref().map(|path| Finding {
        setting: "egress.ca_file",
        found: certificates(path),
        fix: "name a file with certificates in PEM",
    });
    operator_token.into_iter().chain(master_keys).chain(certificates).collect()
}

fn certificates(path: &Path) -> Result<String, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let count = String::from_utf8_lossy(&text).matches("-----BEGIN CERTIFICATE-----").count();
    match count {
        0 => Err(format!("{} has no certificate in it", path.display())),
        count => Ok(format!("{} has certificates in it: {count}", path.display())),
    }
}

/// Where the host would listen and keep its data.
pub fn places(config: &Config) -> Vec<Finding> {
    vec![
        Finding {
            setting: "listen",
            found: port(config),
            fix: "stop what listens there, perhaps another host, or choose another address with --listen",
        },
        Finding {
            setting: "data_dir",
            found: folder(&config.data_dir),
            fix: "choose another folder with --data-dir, or make this one writable for this user",
        },
    ]
}

fn port(config: &Config) -> Result<String, String> {
    match TcpListener::bind(config.listen) {
        Ok(_) => Ok(format!("{} is free", config.listen)),
        Err(error) => Err(format!("cannot listen on {}: {error}", config.listen)),
    }
}

fn folder(path: &Path) -> Result<String, String> {
    // An empty path is the parent of a relative one.
    let here = Path::new(".");
    let existing = path.ancestors().map(|path| if path.as_os_str().is_empty() { here } else { path });
    let existing = existing.into_iter().find(|path| path.exists()).unwrap_or(here);
    if !existing.is_dir() {
        return Err(format!("{} is no folder", existing.display()));
    }
    match rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(format!("{} can be written", path.display())),
        Err(error) => Err(format!("{} cannot be written: {error}", existing.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::config::ConfigArgs;

    fn config(settings: &[String]) -> Config {
        let args = ConfigArgs { set: settings.to_vec(), ..ConfigArgs::default() };
        Config::load(&args, []).expect("valid settings").config
    }

    #[test]
    fn every_file_that_is_named_is_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("nothing");
        let names = ["tokens.operator_file", "credentials.master_key_file", "egress.ca_file"];
        let settings = names.map(|name| format!("{name}={}", path.display()));
        let found = files(&config(&settings));
        assert_eq!(found.iter().map(|one| one.setting).collect::<Vec<_>>(), names);
        for Finding { setting, found, .. } in found {
            let message = found.expect_err(setting);
            assert!(message.contains("nothing") && message.contains("No such file"), "{setting}: {message}");
        }
        fs::write(&path, "no token, no key, no certificate").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        assert!(files(&config(&settings)).iter().all(|one| one.found.is_err()));
        assert!(files(&config(&[])).is_empty());
    }

    #[test]
    fn a_port_that_is_taken_and_a_folder_that_is_none_are_told() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("it listens");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let settings = [format!("listen={address}"), format!("data_dir={}", file.join("below").display())];
        let [port, data] = places(&config(&settings)).try_into().expect("two");
        assert!(port.found.expect_err("taken").contains(&address.to_string()));
        assert!(data.found.expect_err("a file").contains("is no folder"));
        drop(taken);
        let new = folder.path().join("deep/new");
        let [port, data] = places(&config(&[format!("listen={address}"), format!("data_dir={}", new.display())]))
            .try_into()
            .expect("two");
        assert!(port.found.is_ok() && data.found.is_ok() && !new.exists(), "{port:?} {data:?}");
    }
}
