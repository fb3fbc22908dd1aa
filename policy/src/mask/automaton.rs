//! All paths of a plan as one automaton: a state is what has been matched of every path on the way
//! down to a value, so that a walk costs one lookup a member, however many paths there are.
//!
//! It is built by the subset construction. Paths give about as many states as they have steps, as `..`
//! stands in a path at most once; [`STATES_MAX`] bounds them.

use std::collections::HashMap;

use super::path::{Path, Step};
use super::plan::Slot;

/// States that an automaton may have.
const STATES_MAX: usize = 4096;

/// Where nothing below can match any more.
pub(super) const DEAD: u16 = 0;
/// At the document.
pub(super) const START: u16 = 1;
/// A member whose name no path has.
pub(super) const UNNAMED: u16 = 0;

/// The paths of a plan.
#[derive(Debug)]
pub(super) struct Automaton {
    /// The number of each name, from 1.
    names: HashMap<Box<[u8]>, u16>,
    states: Vec<State>,
}

/// What is matched so far.
#[derive(Debug, Default)]
struct State {
    /// Whose path ends here.
    slot: Slot,
    /// Whether a path without `..` leads on from here.
    leads_on: bool,
    /// By a member's number.
    members: Vec<(u16, u16)>,
    other_members: u16,
    /// By an element's index.
    elements: Vec<(u32, u16)>,
    other_elements: u16,
}

impl Default for Slot {
    fn default() -> Self {
        Self::NONE
    }
}

/// A path and how many of its steps are matched.
type Position = (u16, u16);

impl Automaton {
    /// Builds it. `None` where there are too many states.
    pub(super) fn new(paths: &[(Path, Slot)]) -> Option<Self> {
        let mut names: HashMap<Box<[u8]>, u16> = HashMap::new();
        for step in paths.iter().flat_map(|(path, _)| path.steps()) {
            if let Step::Member(name) | Step::Deep(name) = step {
                let next = u16::try_from(names.len() + 1).ok()?;
                names.entry(name.as_bytes().into()).or_insert(next);
            }
        }
        let start: Vec<Position> = (0..u16::try_from(paths.len()).ok()?).map(|path| (path, 0)).collect();
        let mut known: HashMap<Vec<Position>, u16> = HashMap::from([(Vec::new(), DEAD), (start.clone(), START)]);
        let mut states = vec![State::default(), State::default()];
        let mut open = vec![(START, start)];
        while let Some((at, positions)) = open.pop() {
            let mut to = |next: Vec<Position>, slot: Slot| -> Option<u16> {
                // A state is what leads on and what ends in it; ends are told apart by a mark.
                let mut key = next.clone();
                if !slot.is_none() {
                    let index = |index: Option<usize>| index.map_or(u16::MAX, |index| index as u16);
                    key.push((u16::MAX, index(slot.decides())));
                    key.push((u16::MAX, index(slot.observes())));
                }
                if let Some(state) = known.get(&key) {
                    return Some(*state);
                }
                let state = u16::try_from(states.len()).ok().filter(|_| states.len() < STATES_MAX)?;
                let leads_on = next.iter().any(|(path, step)| *step > 0 && !is_deep(paths, *path, *step));
                states.push(State { slot, leads_on, ..State::default() });
                known.insert(key, state);
                open.push((state, next));
                Some(state)
            };
            let member = |name: Option<&str>| {
                step_on(paths, &positions, |step| match step {
                    Step::Member(wanted) | Step::Deep(wanted) => name == Some(wanted),
                    Step::All => true,
                    Step::Element(_) => false,
                })
            };
            let element = |index: Option<u32>| {
                step_on(paths, &positions, |step| match step {
                    Step::Element(wanted) => index == Some(*wanted),
                    Step::All => true,
                    Step::Member(_) | Step::Deep(_) => false,
                })
            };
            let steps = || {
                positions.iter().filter_map(|(path, at)| paths.get(usize::from(*path))?.0.steps().get(usize::from(*at)))
            };
            let (next, slot) = member(None);
            let other_members = to(next, slot)?;
            let (next, slot) = element(None);
            let other_elements = to(next, slot)?;
            let (mut members, mut elements) = (Vec::new(), Vec::new());
            for step in steps() {
                match step {
                    Step::Member(name) | Step::Deep(name) => {
                        let number = names.get(name.as_bytes()).copied()?;
                        if !members.iter().any(|(known, _)| *known == number) {
                            let (next, slot) = member(Some(name));
                            members.push((number, to(next, slot)?));
                        }
                    }
                    Step::Element(index) if !elements.iter().any(|(known, _)| known == index) => {
                        let (next, slot) = element(Some(*index));
                        elements.push((*index, to(next, slot)?));
                    }
                    Step::Element(_) | Step::All => {}
                }
            }
            members.sort_unstable();
            elements.sort_unstable();
            let state = states.get_mut(usize::from(at))?;
            (state.members, state.elements) = (members, elements);
            (state.other_members, state.other_elements) = (other_members, other_elements);
        }
        Some(Self { names, states })
    }

    /// The number of a member's name.
    pub(super) fn name(&self, name: &[u8]) -> u16 {
        self.names.get(name).copied().unwrap_or(UNNAMED)
    }

    /// The state at a member of what `state` is at.
    pub(super) fn member(&self, state: u16, name: u16) -> u16 {
        let Some(state) = self.states.get(usize::from(state)) else { return DEAD };
        if name == UNNAMED || state.members.is_empty() {
            return state.other_members;
        }
        let found = state.members.iter().find(|(number, _)| *number == name);
        found.map_or(state.other_members, |(_, next)| *next)
    }

    /// The state at an element of what `state` is at.
    pub(super) fn element(&self, state: u16, index: u32) -> u16 {
        let Some(state) = self.states.get(usize::from(state)) else { return DEAD };
        let found = state.elements.iter().find(|(known, _)| *known == index);
        found.map_or(state.other_elements, |(_, next)| *next)
    }

    /// Whose path ends in this state.
    pub(super) fn slot(&self, state: u16) -> Slot {
        self.states.get(usize::from(state)).map_or(Slot::NONE, |state| state.slot)
    }

    /// Whether a path without `..` leads on from this state, so that what stands there has to be
    /// understood.
    pub(super) fn leads_on(&self, state: u16) -> bool {
        self.states.get(usize::from(state)).is_some_and(|state| state.leads_on)
    }
}

fn is_deep(paths: &[(Path, Slot)], path: u16, step: u16) -> bool {
    let path = paths.get(usize::from(path)).map(|(path, _)| path.steps());
    matches!(path.and_then(|steps| steps.get(usize::from(step))), Some(Step::Deep(_)))
}

/// What is matched one step further down, and whose paths end there.
fn step_on(paths: &[(Path, Slot)], positions: &[Position], matches: impl Fn(&Step) -> bool) -> (Vec<Position>, Slot) {
    let (mut next, mut slot) = (Vec::new(), Slot::NONE);
    for (path, at) in positions {
        let Some((steps, whose)) = paths.get(usize::from(*path)).map(|(path, slot)| (path.steps(), *slot)) else {
            continue;
        };
        let Some(step) = steps.get(usize::from(*at)) else { continue };
        if matches!(step, Step::Deep(_)) {
            next.push((*path, *at));
        }
        if matches(step) {
            if steps.len() == usize::from(*at) + 1 {
                slot = slot.and(whose);
            } else {
                next.push((*path, at + 1));
            }
        }
    }
    next.sort_unstable();
    next.dedup();
    (next, slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn automaton(paths: &[&str]) -> Automaton {
        let paths: Vec<(Path, Slot)> =
            (0u16..).zip(paths).map(|(at, path)| (Path::parse(path).unwrap(), Slot::of(at, false))).collect();
        Automaton::new(&paths).unwrap()
    }

    /// Walks down `way`, numbers being indices.
    fn ends(automaton: &Automaton, way: &str) -> (Option<usize>, bool) {
        let state = way.split('/').filter(|part| !part.is_empty()).fold(START, |state, part| match part.parse() {
            Ok(index) => automaton.element(state, index),
            Err(_) => automaton.member(state, automaton.name(part.as_bytes())),
        });
        (automaton.slot(state).decides(), state == DEAD)
    }

    #[test]
    fn the_first_path_that_ends_at_a_value_decides() {
        let automaton = automaton(&["$.a.b", "$.a[*].c", "$..d", "$.a.*", "$[2]", "$.a.b.e"]);
        for (way, expected) in [
            ("a", None),
            ("a/b", Some(0)),
            ("a/x", Some(3)),
            ("a/7", Some(3)),
            ("a/7/c", Some(1)),
            ("a/b/e", Some(5)),
            ("a/d", Some(2)),
            ("x/y/d", Some(2)),
            ("x/0/d", Some(2)),
            ("d/d", Some(2)),
            ("2", Some(4)),
            ("1", None),
            ("b", None),
        ] {
            assert_eq!(ends(&automaton, way).0, expected, "{way}");
        }
    }

    #[test]
    fn what_cannot_match_is_dead() {
        let automaton = automaton(&["$.a.b", "$.c"]);
        for (way, dead) in [("a", false), ("a/b", false), ("a/b/x", true), ("x", true), ("0", true), ("c/x", true)] {
            assert_eq!(ends(&automaton, way).1, dead, "{way}");
        }
    }

    #[test]
    fn states_are_bounded() {
        let paths = |count: u16| -> Vec<(Path, Slot)> {
            let path = |at: u16| (0..20).fold("$".to_owned(), |path, step| format!("{path}.a{at}_{step}"));
            (0..count).map(|at| (Path::parse(&path(at)).unwrap(), Slot::of(at, false))).collect()
        };
        assert!(Automaton::new(&paths(200)).is_some());
        assert!(Automaton::new(&paths(256)).is_none());
        let deep: Vec<(Path, Slot)> =
            (0..200).map(|at| (Path::parse(&format!("$..a{at}.b{at}")).unwrap(), Slot::of(at, false))).collect();
        assert!(Automaton::new(&deep).unwrap().states.len() <= 402);
    }
}
