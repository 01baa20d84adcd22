//! `--help` of every command, read from the parser itself: a command that is new is tried without anybody's having thought of it.

use clap::{Arg, Command};
use trellis::cli::command;

/// Every command that does something, with its words.
pub fn leaves() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    let mut waiting = vec![(String::new(), command())];
    while let Some((words, command)) = waiting.pop() {
        let below: Vec<Command> =
            command.get_subcommands().filter(|below| below.get_name() != "help").cloned().collect();
        if below.is_empty() {
            found.push((words.trim().to_owned(), command));
            continue;
        }
        waiting.extend(below.into_iter().map(|below| (format!("{words} {}", below.get_name()), below)));
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// Commands whose arguments are best shown by an example.
const WITH_EXAMPLES: [&str; 15] = [
    "account create",
    "account set",
    "completions",
    "plugin pull",
    "plugin push",
    "plugin show",
    "plugin unyank",
    "plugin wit",
    "plugin yank",
    "run cancel",
    "run replay",
    "send",
    "stores get",
    "stores ls",
    "stores set",
];

#[test]
fn every_command_and_every_flag_says_what_it_is_for() {
    let commands = leaves();
    assert!(commands.len() > 30, "{} commands", commands.len());
    let mut silent = Vec::new();
    for (words, command) in &commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        if about.is_empty() || about.ends_with('.') {
            silent.push(format!("{words}: `{about}`"));
        }
        let is_silent =
            |arg: &&Arg| arg.get_help().is_none() && !["help", "version", "name"].contains(&arg.get_id().as_str());
        silent.extend(command.get_arguments().filter(is_silent).map(|arg| format!("{words} {}", arg.get_id())));
    }
    assert!(silent.is_empty(), "without a word, or with a full stop:\n  {}", silent.join("\n  "));
}

#[test]
fn what_is_hard_to_guess_is_shown_by_an_example() {
    let commands = leaves();
    for words in WITH_EXAMPLES {
        let (_, command) =
            commands.iter().find(|(own, _)| own == words).unwrap_or_else(|| panic!("no command {words}"));
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("Example"), "{words}: {after}");
    }
    for (words, command) in &commands {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in after.lines().filter(|line| line.trim_start().starts_with("trellis ")) {
            let named = line.trim().strip_prefix("trellis ").unwrap_or_default();
            assert!(named.starts_with(words.as_str()), "{words} shows `{line}`");
        }
    }
}

#[test]
fn the_parser_itself_is_sound() {
    command().debug_assert();
}
