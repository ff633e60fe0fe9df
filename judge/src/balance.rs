//! Which judge should hold which groups, by what their evaluation costs. Pure, and the same on every judge that sees
//! the same: each works out the whole division and does its own part of it.

use std::collections::BTreeMap;

/// What judges hold, by name, in cost.
pub(crate) type Loads = BTreeMap<String, u64>;

/// A group by the name of its share, and what it costs.
pub(crate) type Priced<'g> = (&'g str, u64);

/// A judge gives groups away only when it has more than its part by this many hundredths. Less would move groups for
/// the noise of a measurement.
const SURPLUS_PERCENT: u64 = 15;

/// Of the groups that nobody holds those that `me` is to take: the dearest first, each to whoever has least then.
pub(crate) fn takes<'g>(me: &str, loads: &Loads, mut free: Vec<Priced<'g>>) -> Vec<&'g str> {
    let mut loads: Vec<(u64, &str)> =
        loads.iter().map(|(name, load)| (*load, name.as_str())).collect();
    free.sort_unstable_by_key(|(name, cost)| (std::cmp::Reverse(*cost), *name));
    let mut mine = Vec::new();
    for (name, cost) in free {
        let Some(least) = loads.iter_mut().min() else { break };
        if least.1 == me {
            mine.push(name);
        }
        // What costs nothing counts as well, or all of it would go to one judge.
        least.0 += cost.max(1);
    }
    mine
}

/// Of the groups that `me` holds those that others should have: none unless it holds clearly more than its part, and
/// only so many that it still holds no less than whoever gets them.
pub(crate) fn gives<'g>(me: &str, loads: &Loads, mut mine: Vec<Priced<'g>>) -> Vec<&'g str> {
    let part = loads.values().sum::<u64>() / (loads.len() as u64).max(1);
    let Some(mut own) = loads.get(me).copied() else { return Vec::new() };
    if own.saturating_mul(100) <= part.saturating_mul(100 + SURPLUS_PERCENT) {
        return Vec::new();
    }
    let mut others: Vec<(u64, &str)> = loads
        .iter()
        .filter(|(name, _)| *name != me)
        .map(|(name, load)| (*load, name.as_str()))
        .collect();
    mine.sort_unstable_by_key(|(name, cost)| (std::cmp::Reverse(*cost), *name));
    let mut given = Vec::new();
    for (name, cost) in mine {
        let (Some(least), cost) = (others.iter_mut().min(), cost.max(1)) else { break };
        if own <= part {
            break;
        }
        if least.0 + cost <= own.saturating_sub(cost) {
            (least.0, own) = (least.0 + cost, own - cost);
            given.push(name);
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn loads(of: &[(&str, u64)]) -> Loads {
        of.iter().map(|(name, load)| ((*name).to_owned(), *load)).collect()
    }

    #[test]
    fn the_groups_of_a_dead_judge_go_to_those_that_have_least() {
        let loads = loads(&[("a", 10), ("b", 0)]);
        let free = vec![("w", 3), ("x", 7), ("y", 2), ("z", 2)];
        assert_eq!(takes("b", &loads, free.clone()), ["x", "w", "z"]);
        assert_eq!(takes("a", &loads, free), ["y"]);
    }

    #[test]
    fn groups_that_were_never_measured_are_spread_by_number() {
        let loads = loads(&[("a", 0), ("b", 0)]);
        let free: Vec<Priced<'_>> = vec![("w", 0), ("x", 0), ("y", 0), ("z", 0)];
        assert_eq!(takes("a", &loads, free.clone()).len(), 2);
        assert_eq!(takes("b", &loads, free).len(), 2);
    }

    #[test]
    fn a_judge_that_joins_is_given_its_part() {
        let loads = loads(&[("a", 100), ("b", 0)]);
        let mine: Vec<(String, u64)> = (0..10).map(|n| (format!("g{n}"), 10)).collect();
        let mine = mine.iter().map(|(name, cost)| (name.as_str(), *cost)).collect();
        assert_eq!(gives("a", &loads, mine).len(), 5);
    }

    #[test]
    fn little_surplus_moves_nothing() {
        let loads = loads(&[("a", 112), ("b", 100)]);
        assert_eq!(gives("a", &loads, vec![("g", 6), ("h", 106)]), [""; 0]);
    }

    #[test]
    fn one_dear_group_is_not_handed_from_judge_to_judge() {
        let loads = loads(&[("a", 100), ("b", 0)]);
        assert_eq!(gives("a", &loads, vec![("g", 100)]), [""; 0]);
    }

    /// One round: everybody gives, then everybody takes. Answers how many groups moved.
    fn round(held: &mut HashMap<String, String>, costs: &[u64], judges: &[String]) -> usize {
        let name = |n: usize| format!("g{n:03}");
        let names: Vec<String> = (0..costs.len()).map(name).collect();
        let loads = |held: &HashMap<String, String>| -> Loads {
            let load = |judge: &String| {
                let own =
                    names.iter().zip(costs).filter(|(name, _)| held.get(*name) == Some(judge));
                own.map(|(_, cost)| *cost).sum()
            };
            judges.iter().map(|judge| (judge.clone(), load(judge))).collect()
        };
        let seen = loads(held);
        let mut moved = 0;
        for judge in judges {
            let own = names.iter().zip(costs).filter(|(name, _)| held.get(*name) == Some(judge));
            let own = own.map(|(name, cost)| (name.as_str(), *cost)).collect();
            for given in gives(judge, &seen, own) {
                held.remove(given);
                moved += 1;
            }
        }
        let seen = loads(held);
        let free: Vec<Priced<'_>> = names
            .iter()
            .zip(costs)
            .filter(|(name, _)| !held.contains_key(*name))
            .map(|(name, cost)| (name.as_str(), *cost))
            .collect();
        for judge in judges {
            for taken in takes(judge, &seen, free.clone()) {
                assert!(held.insert(taken.to_owned(), judge.clone()).is_none(), "taken twice");
            }
        }
        moved
    }

    proptest! {
        #[test]
        fn every_group_finds_one_judge_and_soon_none_moves(
            costs in prop::collection::vec(1_u64..1000, 1..120),
            judges in 1_usize..6,
        ) {
            let judges: Vec<String> = (0..judges).map(|n| format!("judge-{n}")).collect();
            // One judge holds everything, the others join; then the first one dies.
            let mut held = HashMap::new();
            round(&mut held, &costs, &judges[..1]);
            prop_assert_eq!(held.len(), costs.len());
            let mut rounds = 0;
            while round(&mut held, &costs, &judges) > 0 {
                rounds += 1;
                prop_assert!(rounds < 20, "groups move for ever");
            }
            let load = |judge: &String, held: &HashMap<String, String>| -> u64 {
                (0..costs.len()).filter(|n| held.get(&format!("g{n:03}")) == Some(judge)).map(|n| costs[n]).sum()
            };
            let part = costs.iter().sum::<u64>() / judges.len() as u64;
            let dearest = costs.iter().max().copied().unwrap_or(0);
            for judge in &judges {
                prop_assert!(load(judge, &held) <= part + part * SURPLUS_PERCENT / 100 + 2 * dearest);
            }
            if judges.len() > 1 {
                held.retain(|_, judge| *judge != judges[0]);
                round(&mut held, &costs, &judges[1..]);
                prop_assert_eq!(held.len(), costs.len());
            }
        }
    }
}
