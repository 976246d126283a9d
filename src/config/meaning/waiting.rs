//! Warnings of what would wait for ever: for a parent that never reaches the sink, or for each other.

use std::ops::Range;

use super::entities::name_of;
use super::{Rules, each, globs, section};
use crate::blob_type::BlobTypeFilter;
use crate::config::problem::Problem;
use crate::config::written::Document;
use crate::route::{Match, MissingParent, RouteSettings};

/// Which routes bring which entities.
struct Carriers<'a> {
    routes: Vec<&'a RouteSettings>,
    /// Each entity by name, with its place and the numbers of the routes that bring it.
    entities: Vec<(&'a str, Range<usize>, Vec<usize>)>,
}

impl<'a> Carriers<'a> {
    fn of(document: &'a Document, routes: &'a [(RouteSettings, Range<usize>)]) -> Self {
        let matching = section(&document.routing).r#match.value().map_or_else(Match::default, |matching| matching.0);
        let routes: Vec<&RouteSettings> = routes.iter().map(|(route, _)| route).collect();
        let entities = each(&document.entity)
            .iter()
            .filter_map(|entity| {
                let name = name_of(entity.get_ref())?;
                Some((name, entity.span(), carriers(&globs(&entity.get_ref().blob_types), &routes, matching)))
            })
            .collect();
        Self { routes, entities }
    }

    /// The numbers of the routes that bring the entity.
    fn of_entity(&self, entity: &str) -> Option<&[usize]> {
        self.entities.iter().find(|(name, ..)| *name == entity).map(|(_, _, routes)| routes.as_slice())
    }
}

impl Rules<'_, '_> {
    pub(super) fn warn_of_waiting(&mut self, document: &Document, routes: &[(RouteSettings, Range<usize>)]) {
        let carriers = Carriers::of(document, routes);
        for (at, (route, span)) in routes.iter().enumerate() {
            if route.parking.missing_parent != MissingParent::Deliver {
                self.warn_of_parents_elsewhere(route, span, &carriers);
            }
            if route.parking.latest_only && !carriers.entities.iter().any(|(_, _, routes)| routes.contains(&at)) {
                let message = format!("`park_latest_only` has no effect on the route {:?}", route.name.as_str());
                self.problems.add(
                    Problem::new(span.clone(), message, "no [[entity]] says what its records are about")
                        .help(
                            "declare an entity for its blob types: of records with one key only the latest waits then",
                        )
                        .warning(),
                );
            }
        }
        self.warn_of_cycles(&carriers);
    }

    fn warn_of_parents_elsewhere(&mut self, route: &RouteSettings, span: &Range<usize>, carriers: &Carriers<'_>) {
        for parent in &route.parents {
            let entity = parent.entity.as_str();
            let Some(bringing) = carriers.of_entity(entity) else { continue };
            for sink in &route.sinks {
                if bringing.iter().any(|at| carriers.routes[*at].sinks.contains(sink)) {
                    continue;
                }
                let message = format!(
                    "the route {:?} waits for {entity:?}, which no route delivers to its sink {:?}",
                    route.name.as_str(),
                    sink.as_str()
                );
                let help = format!(
                    "route the blob types of {entity} to that sink as well, or say what it holds already: \
                     `longshore entities import`"
                );
                let problem = Problem::new(span.clone(), message, "its records wait until their time is up");
                self.problems.add(problem.help(help).warning());
            }
        }
    }

    fn warn_of_cycles(&mut self, carriers: &Carriers<'_>) {
        let waits_for: Vec<Vec<usize>> = carriers
            .entities
            .iter()
            .map(|(_, _, bringing)| {
                // A route that takes everything has parents of all kinds; which kind waits for which, nobody can tell.
                let routes = bringing.iter().map(|at| carriers.routes[*at]);
                let routes = routes.filter(|route| !route.blob_types.iter().any(|glob| glob == "*"));
                let position = |name: &str| carriers.entities.iter().position(|(other, ..)| *other == name);
                routes.flat_map(|route| &route.parents).filter_map(|parent| position(parent.entity.as_str())).collect()
            })
            .collect();
        let Some(cycle) = cycle(&waits_for) else { return };
        let names: Vec<&str> = cycle.iter().map(|at| carriers.entities[*at].0).collect();
        let span = carriers.entities[cycle[0]].1.clone();
        let message = format!("entities wait for each other: {} for {}", names.join(" for "), names[0]);
        self.problems.add(
            Problem::new(span, message, "none of them comes first")
                .help("records that form such a circle wait until their time is up; take one `parents` away")
                .warning(),
        );
    }
}

/// The routes that take one of these blob types, as far as the globs tell; rather one too many than one too few.
fn carriers(blob_types: &[String], routes: &[&RouteSettings], matching: Match) -> Vec<usize> {
    let mut found = Vec::new();
    for glob in blob_types {
        for (at, route) in routes.iter().enumerate() {
            let Ok(filter) = BlobTypeFilter::new(&route.blob_types, &route.exclude) else { continue };
            let is_blob_type = !has_wildcard(glob);
            let takes = if is_blob_type { filter.wants(glob) } else { may_meet(glob, route) };
            if !takes {
                continue;
            }
            if !found.contains(&at) {
                found.push(at);
            }
            // The first one gets it all.
            if matching == Match::First && is_blob_type && route.feeds.is_empty() {
                break;
            }
        }
    }
    found
}

/// Whether a blob type may match both `glob`, which has a wildcard, and the route.
fn may_meet(glob: &str, route: &RouteSettings) -> bool {
    let Ok(filter) = BlobTypeFilter::new(&[glob.to_owned()], &[]) else { return true };
    route.blob_types.iter().any(|other| has_wildcard(other) || filter.wants(other))
}

/// Without a wildcard a glob is a blob type.
pub(super) fn has_wildcard(glob: &str) -> bool {
    glob.contains(['*', '?', '[', '{', '\\'])
}

/// A circle of more than one in a graph, if there is one. What points to itself is none: an item may be part of an item.
fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    fn walk(edges: &[Vec<usize>], at: usize, path: &mut Vec<usize>, done: &mut [bool]) -> Option<Vec<usize>> {
        if let Some(from) = path.iter().position(|one| *one == at) {
            return Some(path[from..].to_vec());
        }
        if done[at] {
            return None;
        }
        path.push(at);
        let found = edges[at].iter().filter(|next| **next != at).find_map(|next| walk(edges, *next, path, done));
        path.pop();
        done[at] = true;
        found
    }
    let mut done = vec![false; edges.len()];
    (0..edges.len()).find_map(|at| walk(edges, at, &mut Vec::new(), &mut done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_and_what_points_to_itself_is_none() {
        assert_eq!(cycle(&[vec![0], vec![0, 1], vec![1, 0]]), None);
        assert_eq!(cycle(&[vec![1], vec![2, 1], vec![3], vec![1]]), Some(vec![1, 2, 3]));
    }
}
