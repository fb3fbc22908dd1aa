//! The names of a request's topics that are named by id, kept until its response: the shard's own
//! table may have forgotten them by then.

use std::sync::Arc;

use uuid::Uuid;

/// Ids and names in the request's order.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<(Uuid, Arc<str>)>,
    /// Where the next id is looked for first: responses mostly keep the request's order.
    next: usize,
}

impl Names {
    /// Adds a topic of the request.
    pub(super) fn push(&mut self, id: Uuid, name: Arc<str>) {
        self.names.push((id, name));
    }

    /// The name of a topic of the response.
    pub(super) fn find(&mut self, id: &Uuid) -> Option<Arc<str>> {
        let at = (self.next..self.names.len())
            .chain(0..self.next)
            .find(|at| self.names.get(*at).is_some_and(|(known, _)| known == id))?;
        self.next = at + 1;
        self.names.get(at).map(|(_, name)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_order_and_again() {
        let id = Uuid::from_u128;
        let mut names = Names::default();
        for n in 1..=3 {
            names.push(id(n), Arc::from(n.to_string()));
        }
        for n in [2, 1, 3, 3, 1] {
            assert_eq!(names.find(&id(n)).as_deref(), Some(n.to_string().as_str()));
        }
        assert_eq!(names.find(&id(9)), None);
        assert_eq!(names.find(&id(2)).as_deref(), Some("2"));
    }
}
