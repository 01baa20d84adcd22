//! What a new project consists of, for each language.

/// What the plugin of a new project is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    #[default]
    Rust,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    Python,
}

/// Path in the project and text, both with places for what differs: `{{name}}` and `{{sdk}}`.
type File = (&'static str, &'static str);

macro_rules! file {
    ($path:literal, $template:literal) => {
        ($path, include_str!(concat!("../../../templates/", $template)))
    };
}

const PROJECT: [File; 3] = [
    file!("trellis.toml", "project/trellis.toml"),
    file!("event.json", "project/event.json"),
    file!(".gitignore", "project/gitignore"),
];

const RUST: [File; 3] = [
    file!("README.md", "rust/README.md"),
    file!("plugins/{{name}}/Cargo.toml", "rust/plugin/Cargo.toml.template"),
    file!("plugins/{{name}}/src/lib.rs", "rust/plugin/lib.rs.template"),
];

const JAVASCRIPT: [File; 5] = [
    file!("README.md", "javascript/README.md"),
    file!("plugins/{{name}}/package.json", "javascript/plugin/package.json"),
    file!("plugins/{{name}}/plugin.js", "javascript/plugin/plugin.js"),
    file!("plugins/{{name}}/greet.js", "javascript/plugin/greet.js"),
    file!("plugins/{{name}}/greet.test.js", "javascript/plugin/greet.test.js"),
];

const PYTHON: [File; 5] = [
    file!("README.md", "python/README.md"),
    file!("plugins/{{name}}/pyproject.toml", "python/plugin/pyproject.toml"),
    file!("plugins/{{name}}/app.py", "python/plugin/app.py"),
    file!("plugins/{{name}}/greet.py", "python/plugin/greet.py"),
    file!("plugins/{{name}}/test_greet.py", "python/plugin/test_greet.py"),
];

impl Language {
    /// The command that tests the plugin of a project, as its README has it.
    pub(super) fn test(self, name: &str) -> String {
        match self {
            Self::Rust => format!("cargo test --manifest-path plugins/{name}/Cargo.toml"),
            Self::JavaScript => format!("npm test --prefix plugins/{name}"),
            Self::Python => format!("python3 -m unittest discover plugins/{name}"),
        }
    }

    /// All files of a new project.
    pub(super) fn files(self) -> impl Iterator<Item = File> {
        let own: &[File] = match self {
            Self::Rust => &RUST,
            Self::JavaScript => &JAVASCRIPT,
            Self::Python => &PYTHON,
        };
        PROJECT.iter().chain(own).copied()
    }
}
