//! A component whose imports or exports have the right names and other types than this host's: which one it is, and what was
//! expected.
//!
//! The types themselves are compared by wasmtime; here its words are put into a fault, with the line of WIT that was meant.

use trellis_model::fault::Fault;

use super::{UploadError, check::pointer_to};

/// The contract with guests, as it is handed out.
const WIT: &str = include_str!("../../../../wit/plugin.wit");
const OWN_PACKAGE: &str = "trellis:plugin/";
const TRANSFORMER: &str = "trellis:plugin/transformer";

/// What the linker says of an import that it cannot join.
pub(crate) fn of_imports(error: &wasmtime::Error) -> UploadError {
    let text = format!("{error:#}");
    let interface = quoted(&text).find(|name| is_interface(name)).unwrap_or_default();
    let pointer = pointer_to("/imports", interface);
    fault(pointer, interface, &text)
}

/// What is said of an export that is missing or of another type.
pub(crate) fn of_exports(error: &wasmtime::Error) -> UploadError {
    let text = format!("{error:#}");
    let interface = quoted(&text).find(|name| is_interface(name)).unwrap_or(TRANSFORMER);
    fault(pointer_to("/exports", interface), interface, &text)
}

fn fault(pointer: String, interface: &str, text: &str) -> UploadError {
    let expected = quoted(text).find_map(|member| signature(interface, member));
    let expected = expected.map(|line| format!("; expected `{line}`")).unwrap_or_default();
    let package = interface.split_once('/').map_or("", |(package, _)| package);
    let fix = match package {
        "" | "trellis:plugin" => "build against the WIT of this host: its source has it in the folder `wit`".to_owned(),
        other => {
            format!("build against the {other} that the WIT of this host names, in the folder `wit/deps` of its source")
        }
    };
    UploadError::fault(Fault::at(pointer, format!("does not fit this host's WIT: {text}{expected}")).fix(fix))
}

fn is_interface(name: &str) -> bool {
    name.contains(':') && name.contains('/')
}

/// All that stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A function of one of our own interfaces, on one line as WIT has it.
fn signature(interface: &str, function: &str) -> Option<String> {
    let name = interface.strip_prefix(OWN_PACKAGE)?.split('@').next()?;
    let (_, body) = WIT.split_once(&format!("\ninterface {name} {{\n"))?;
    let (body, _) = body.split_once("\n}")?;
    let begins = |line: &&str| {
        let line = line.trim_start().trim_start_matches('%');
        line.strip_prefix(function).is_some_and(|rest| rest.starts_with(": func("))
    };
    let line = body.lines().find(begins)?;
    Some(line.trim().trim_end_matches(';').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_in_the_wit() {
        assert_eq!(
            signature("trellis:plugin/transformer@0.1.0", "describe").as_deref(),
            Some("describe: func() -> json")
        );
        let list = signature("trellis:plugin/storage@0.1.0", "list").expect("it has one");
        assert!(list.starts_with("%list: func(store: string, prefix: string"), "{list}");
        for (interface, function) in [
            ("trellis:plugin/web@0.1.0", "get"),
            ("trellis:plugin/nothing@0.1.0", "fetch"),
            ("wasi:http/types@0.2.0", "fetch"),
            ("trellis:plugin/web@0.1.0", "request"),
        ] {
            assert_eq!(signature(interface, function), None, "{interface} {function}");
        }
    }

    #[test]
    fn the_import_at_fault_is_named_with_what_was_expected() {
        let error =
            wasmtime::Error::msg("component imports instance `trellis:plugin/web@0.1.0`: export `fetch` differs");
        let UploadError::Faults(faults) = of_imports(&error) else { panic!("a fault") };
        assert_eq!(faults[0].pointer, "/imports/trellis:plugin~1web@0.1.0");
        assert!(
            faults[0].message.ends_with("expected `fetch: func(request: request) -> result<response, web-error>`"),
            "{}",
            faults[0].message
        );
    }
}
