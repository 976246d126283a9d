//! The meaning of `[[entity]]` and of what a route says about its parents.

use std::ops::Range;

use toml::Spanned;

use super::{Rules, each, globs};
use crate::config::keys::{Key, Keys, UNNAMED};
use crate::config::problem::Problem;
use crate::config::reader::nearest;
use crate::config::value::{OneOf, Time};
use crate::config::written::{Document, Entity, Parent, Route, Sink};
use crate::notice::EntityName;
use crate::route::{EntitySettings, KeySettings, MissingParent, ParentSettings, ParkingSettings};
use crate::sink::DirectoryFormat;

impl Rules<'_, '_> {
    pub(super) fn entities(&mut self, document: &Document) -> Vec<EntitySettings> {
        let written = each(&document.entity);
        self.unique(
            "entity",
            written.iter().filter_map(|entity| {
                entity.get_ref().name.spanned().map(|name| (name.get_ref().0.as_str(), name.span()))
            }),
        );
        written.iter().filter_map(|entity| self.entity(entity.get_ref(), entity.span())).collect()
    }

    fn entity(&mut self, entity: &Entity, span: Range<usize>) -> Option<EntitySettings> {
        let name = self.required("[[entity]]", span.clone(), "name", &entity.name, "\"item\"");
        self.required("[[entity]]", span.clone(), "blob_types", &entity.blob_types, "[\"Gateway.ItemChanges\"]");
        let keys = self.required("[[entity]]", span, "key", &entity.key, "\"/…\"");
        self.not_empty("entity.blob_types", &entity.blob_types, "must name a glob, such as \"Gateway.ItemChanges\"");
        let deleted = entity
            .deleted
            .spanned()
            .and_then(|deleted| self.condition("entity.deleted", deleted.get_ref(), deleted.span()));
        Some(EntitySettings {
            name: EntityName::new(&name?.get_ref().0),
            blob_types: globs(&entity.blob_types),
            keys: settings_of(keys?.get_ref()),
            deleted,
        })
    }

    /// What must exist before a record of the route; `document` has the entities.
    pub(super) fn parents(&mut self, route: &Route, document: &Document) -> Vec<ParentSettings> {
        if let Some(parents) = route.parents.spanned().filter(|parents| !parents.get_ref().is_empty()) {
            for sink in each(&route.sinks).iter().filter(|sink| takes_payloads_whole(document, sink.get_ref())) {
                let message =
                    format!("records of this route cannot wait: the sink {:?} takes payloads whole", sink.get_ref());
                self.problems.add(
                    Problem::new(sink.span(), message, "has format = \"raw\"")
                        .also(parents.span(), "what they would wait for")
                        .help("choose another format for the sink, or a route of its own without `parents`"),
                );
            }
        }
        each(&route.parents)
            .iter()
            .filter_map(|parent| self.parent(parent.get_ref(), parent.span(), document))
            .collect()
    }

    fn parent(&mut self, parent: &Parent, span: Range<usize>, document: &Document) -> Option<ParentSettings> {
        let entity = self.required("`route.parents`", span.clone(), "entity", &parent.entity, "\"item\"");
        let keys = self.required("`route.parents`", span, "key", &parent.key, "\"/…\"");
        let (entity, keys) = (entity?, keys?.get_ref());
        let names: Vec<&str> = each(&document.entity).iter().filter_map(|one| name_of(one.get_ref())).collect();
        if !self.known("route.parents", "entity", entity, &names) {
            return None;
        }
        let declared = each(&document.entity)
            .iter()
            .find(|one| name_of(one.get_ref()) == Some(entity.get_ref()))
            .and_then(|one| one.get_ref().key.value());
        if let Some(declared) = declared {
            for key in &keys.0 {
                self.key_is_declared(entity.get_ref(), key, declared);
            }
        }
        Some(ParentSettings { entity: EntityName::new(entity.get_ref()), keys: settings_of(keys) })
    }

    /// A reference and an entity meet under one name, and with as many values.
    fn key_is_declared(&mut self, entity: &str, key: &Key, declared: &Keys) {
        let name = key.name.get_ref();
        let names: Vec<&str> = declared.0.iter().map(|key| key.name.get_ref().as_str()).collect();
        let Some(same) = declared.0.iter().find(|one| one.name.get_ref() == name) else {
            let label = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None if name == UNNAMED => format!("say which it is, such as {{ {} = \"/…\" }}", names[0]),
                None => "not known".to_owned(),
            };
            let message = if name == UNNAMED {
                format!("the keys of the entity {entity:?} have names, and this one has none")
            } else {
                format!("the entity {entity:?} has no key named {name:?}")
            };
            let help = match names.as_slice() {
                [UNNAMED] => String::from(
                    "the entity's key has no name: write the reference without one as well, as key = \"/…\"",
                ),
                names => format!("keys of {entity}: {}", names.join(", ")),
            };
            self.problems.add(Problem::new(key.name.span(), message, label).help(help));
            return;
        };
        let values = |count: usize| format!("{count} value{}", if count == 1 { "" } else { "s" });
        if same.pointers.len() != key.pointers.len() {
            let message = format!(
                "this key has {}, and the same key of the entity {entity:?} has {}",
                values(key.pointers.len()),
                values(same.pointers.len())
            );
            let problem = Problem::new(key.name.span(), message, "can never be equal");
            self.problems.add(problem.also(same.name.span(), "the entity's"));
        }
    }

    /// What becomes of the route's records whose parent is missing.
    pub(super) fn parking_of(&mut self, route: &Route) -> ParkingSettings {
        let default = ParkingSettings::default();
        let settings = ParkingSettings {
            missing_parent: self.or("route.missing_parent", &route.missing_parent, OneOf(default.missing_parent)).0,
            park_for: self.or("route.park_for", &route.park_for, Time(default.park_for)).0,
            at_deadline: self.or("route.at_deadline", &route.at_deadline, OneOf(default.at_deadline)).0,
            latest_only: self.or("route.park_latest_only", &route.park_latest_only, default.latest_only),
        };
        let why = match settings.missing_parent {
            _ if route.parents.is_absent() => "the route has no `parents`",
            MissingParent::Park => return settings,
            MissingParent::Deliver | MissingParent::Quarantine => "nothing is parked on this route",
        };
        let of_parking = [
            ("park_for", route.park_for.spanned().map(Spanned::span)),
            ("at_deadline", route.at_deadline.spanned().map(Spanned::span)),
            ("park_latest_only", route.park_latest_only.spanned().map(Spanned::span)),
        ];
        let missing_parent = route.missing_parent.spanned().filter(|_| route.parents.is_absent()).map(Spanned::span);
        for (key, span) in of_parking.into_iter().chain([("missing_parent", missing_parent)]) {
            if let Some(span) = span {
                self.problems.add(Problem::new(span, format!("`route.{key}` has no effect"), why).warning());
            }
        }
        settings
    }
}

/// Whether the sink of that name gets payloads as they came, in which no record can be told from another.
pub(super) fn takes_payloads_whole(document: &Document, name: &str) -> bool {
    each(&document.sink).iter().any(|sink| match sink.get_ref() {
        Sink::Directory(sink) => {
            sink.name.value().is_some_and(|own| own.0 == name)
                && sink.format.value().is_some_and(|format| format.0 == DirectoryFormat::Raw)
        }
        _ => false,
    })
}

pub(super) fn name_of(entity: &Entity) -> Option<&str> {
    entity.name.value().map(|name| name.0.as_str())
}

fn settings_of(keys: &Keys) -> Vec<KeySettings> {
    keys.0.iter().map(|key| KeySettings { name: key.name.get_ref().clone(), pointers: key.pointers.clone() }).collect()
}
