//! Man pages, from the same declaration as the help.

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::args::Cli;

/// Returns the file name and the roff text of every page: `runner.1`, then `runner-run.1` and so on for each
/// verb.
pub(super) fn pages() -> std::io::Result<Vec<(String, String)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    [command.clone()].into_iter().chain(verbs).map(page).collect()
}

fn page(command: Command) -> std::io::Result<(String, String)> {
    let page = Man::new(command);
    let mut roff = Vec::new();
    page.render(&mut roff)?;
    Ok((page.get_filename(), String::from_utf8_lossy(&roff).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_that_shows_how_it_is_used() {
        let pages = pages().unwrap();
        let command = Cli::command();
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        let mut expected = vec!["runner.1".to_owned()];
        expected.extend(verbs.map(|verb| format!("runner-{}.1", verb.get_name())));
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected);
        for (name, roff) in &pages {
            for section in [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
                assert!(roff.contains(section), "{section} is not in {name}:\n{roff}");
            }
            assert!(name == "runner.1" || roff.contains("Examples:"), "{name}:\n{roff}");
        }
    }
}
