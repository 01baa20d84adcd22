//! The WIT of plugins, carried by the program itself: nobody has to fetch it.

use std::path::PathBuf;

use super::folder::{self, BuildFolder};
use crate::BuildError;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../../wit/", $path)))),*]
    };
}

/// Path below the folder of the WIT, and text.
const FILES: [(&str, &str); 11] = files![
    "plugin.wit",
    "deps/wasi-cli/cli.wit",
    "deps/wasi-clocks/clocks.wit",
    "deps/wasi-config/store.wit",
    "deps/wasi-filesystem/filesystem.wit",
    "deps/wasi-http/http.wit",
    "deps/wasi-io/io.wit",
    "deps/wasi-keyvalue/keyvalue.wit",
    "deps/wasi-logging/logging.wit",
    "deps/wasi-random/random.wit",
    "deps/wasi-sockets/sockets.wit",
];

/// What of the WIT can change a component that is built by this program; what it imports of WASI has fixed versions.
pub(super) const WIT: &str = FILES[0].1;

/// Writes the WIT into the build folder, unless it is there; answers where.
pub(super) fn write(home: &BuildFolder) -> Result<PathBuf, BuildError> {
    let all: String = FILES.iter().map(|(_, text)| *text).collect();
    home.kept("wit", &super::sources::digest_of(&all), |at| {
        FILES.iter().try_for_each(|(path, text)| folder::write(&at.join("wit").join(path), text))
    })
    .map(|at| at.join("wit"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_of_the_wit_is_carried() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let (mut found, mut folders) = (BTreeSet::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(&root).expect("below it").to_string_lossy().into_owned());
                }
            }
        }
        let carried: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(found, carried);
    }
}
