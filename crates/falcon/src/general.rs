//! What is different for every rule that is taken over.

use crate::import::{Format, Options};
use crate::portal::Portal;
use crate::report::Note;

/// Names of teams that the report lists.
const TEAMS_MAX: usize = 100;

/// What goes for all rules. `collisions` are metrics that have one name here.
pub(crate) fn general(portal: &Portal, options: &Options, collisions: &[Vec<&str>]) -> Vec<Note> {
    let mut notes = vec![
        Note::new(
            "gap",
            "rules look at the last N steps, where judge looked at the last N points however old. \
             When a point is \
             missing, nothing is decided: what fires goes on firing until there are N points again",
        ),
        Note::new(
            "repeat",
            "max_step is max_notifications; they come after alarm's repeat_interval, where judge \
             waited for 300 s \
             and a new point",
        ),
        Note::new(
            "maintenance",
            "a host in maintenance gets no new alert; one that fires may end, where judge did not \
             look at all",
        ),
    ];
    if options.format == Format::Prometheus {
        let text = "recover_expr, no_data, max_notifications and active_times are left out: a missing \
        point ends an \
                    alert, missing data is not told, and rules work at all hours";
        notes.push(Note::new("format", text));
    }
    let has_hours =
        |one: &crate::portal::Strategy| !(one.run_begin.is_empty() && one.run_end.is_empty());
    if portal.strategies.iter().any(has_hours) {
        let text = format!(
            "run_begin and run_end go by {}; the original went by the clock of the machine of hbs",
            options.time_zone
        );
        notes.push(Note::new("hours", text));
    }
    for originals in collisions {
        let text = format!("{} have one name here", originals.join(", "));
        notes.push(Note::new("name", text));
    }
    notes.extend(teams(portal));
    notes
}

fn teams(portal: &Portal) -> Option<Note> {
    let mut teams: Vec<&str> = portal
        .actions
        .values()
        .flat_map(|action| action.teams.split(','))
        .map(str::trim)
        .filter(|team| !team.is_empty())
        .collect();
    teams.sort_unstable();
    teams.dedup();
    let more = teams.len().saturating_sub(TEAMS_MAX);
    teams.truncate(TEAMS_MAX);
    let first = *teams.first()?;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!(
        "alerts have the teams in the label teams, with commas between: give alarm a receiver for \
         each of {}{more} with \
         a matcher such as teams=~\"(.*,)?{first}(,.*)?\"",
        teams.join(", ")
    );
    Some(Note::new("receivers", text))
}
