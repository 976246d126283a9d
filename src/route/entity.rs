//! Entities and references to them, ready for use.

use crate::blob_type::BlobTypeFilter;
use crate::inbox::EntityKey;
use crate::notice::EntityName;
use crate::pointer::PointerError;
use crate::route::envelope;
use crate::route::keys::Key;
use crate::route::{EntitySettings, KeySettings, ParentSettings, RecordFilter, RouteError, RouteSettings};

/// What records are about.
#[derive(Clone, Debug)]
pub struct Entity {
    name: EntityName,
    blob_types: BlobTypeFilter,
    keys: Vec<Key>,
    /// What takes the entity away.
    deleted: Option<RecordFilter>,
}

impl Entity {
    fn new(settings: &EntitySettings) -> Result<Self, RouteError> {
        let name = settings.name.clone();
        let blob_types = BlobTypeFilter::new(&settings.blob_types, &[])
            .map_err(|e| RouteError::EntityGlob { entity: name.clone(), reason: e.to_string() })?;
        let pointer = |reason| RouteError::EntityPointer { entity: name.clone(), reason };
        let keys = keys(&settings.keys).map_err(pointer)?;
        let deleted = settings.deleted.as_ref().map(|condition| RecordFilter::new(std::slice::from_ref(condition)));
        let deleted = deleted.transpose().map_err(pointer)?;
        Ok(Self { name, blob_types, keys, deleted })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &EntityName {
        &self.name
    }

    /// Its keys, each an alternative.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether records of `blob_type` carry it; where that may end in a version, it may be named with or without it.
    #[must_use]
    pub fn is_carried_by(&self, blob_type: &str, may_have_version: bool) -> bool {
        if may_have_version { envelope::wants(&self.blob_types, blob_type) } else { self.blob_types.wants(blob_type) }
    }

    /// Whether the record takes it away.
    #[must_use]
    pub fn is_deleted_by(&self, body: &[u8]) -> bool {
        self.deleted.as_ref().is_some_and(|deleted| deleted.keeps(body))
    }

    /// The first key that the record carries of it.
    #[must_use]
    pub fn first_key(&self, body: &[u8], scratch: &mut Vec<u8>) -> Option<EntityKey> {
        self.keys.iter().find_map(|key| key.of(body, scratch))
    }
}

/// What a record refers to.
#[derive(Clone, Debug)]
pub struct Parent {
    entity: EntityName,
    keys: Vec<Key>,
}

impl Parent {
    /// The entity.
    #[must_use]
    pub fn entity(&self) -> &EntityName {
        &self.entity
    }

    /// Where a record names it; any of these keys will do.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The parent for people, such as `item sku=123` or `item sku=123 or gtin=40`.
    #[must_use]
    pub fn show(&self, body: &[u8]) -> String {
        let keys: Vec<String> = self.keys.iter().filter_map(|key| key.show(body)).collect();
        format!("{} {}", self.entity, keys.join(" or "))
    }
}

fn keys(settings: &[KeySettings]) -> Result<Vec<Key>, PointerError> {
    settings.iter().map(Key::new).collect()
}

/// Makes the entities ready.
pub(super) fn entities(settings: &[EntitySettings]) -> Result<Vec<Entity>, RouteError> {
    let mut entities: Vec<Entity> = Vec::with_capacity(settings.len());
    for one in settings {
        if entities.iter().any(|entity| entity.name == one.name) {
            return Err(RouteError::SameEntity(one.name.clone()));
        }
        entities.push(Entity::new(one)?);
    }
    Ok(entities)
}

/// Makes a route's references ready. An entity and a reference to it meet under a key's name and its number of values;
/// one that can never be met would park every record.
pub(super) fn parents(route: &RouteSettings, entities: &[Entity]) -> Result<Vec<Parent>, RouteError> {
    let ready = |settings: &ParentSettings| {
        let entity = settings.entity.clone();
        let Some(known) = entities.iter().find(|one| one.name == entity) else {
            return Err(RouteError::UnknownEntity { route: route.name.clone(), entity });
        };
        let keys = keys(&settings.keys).map_err(|reason| RouteError::ParentPointer {
            route: route.name.clone(),
            entity: entity.clone(),
            reason,
        })?;
        for key in &keys {
            let is_met = known.keys.iter().any(|other| other.name() == key.name() && other.parts() == key.parts());
            if !is_met {
                let key = key.name().to_owned();
                return Err(RouteError::UnknownKey { route: route.name.clone(), entity, key });
            }
        }
        Ok(Parent { entity, keys })
    };
    route.parents.iter().map(ready).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::{FeedName, RouteName, SinkName};
    use crate::route::{Condition, FormatHints, Match, ParkingSettings, Router};

    fn key(name: &str, pointers: &[&str]) -> KeySettings {
        KeySettings { name: name.to_owned(), pointers: pointers.iter().map(|text| (*text).to_owned()).collect() }
    }

    fn item() -> EntitySettings {
        EntitySettings {
            name: EntityName::new("item"),
            blob_types: vec!["Gateway.Item*".to_owned()],
            keys: vec![key("sku", &["/sku"]), key("gtin", &["/gtin"])],
            deleted: Some(Condition { pointer: "/deleted".to_owned(), equals: vec![serde_json::json!(true)] }),
        }
    }

    fn prices(parent: &str, keys: Vec<KeySettings>) -> RouteSettings {
        RouteSettings {
            name: RouteName::new("prices"),
            blob_types: vec!["*".to_owned()],
            exclude: Vec::new(),
            feeds: Vec::new(),
            sinks: vec![SinkName::new("out")],
            only: Vec::new(),
            format: FormatHints::default(),
            parents: vec![ParentSettings { entity: EntityName::new(parent), keys }],
            parking: ParkingSettings::default(),
        }
    }

    fn router(route: RouteSettings) -> Result<Router, RouteError> {
        Router::new(vec![route], Match::First, &[item()])
    }

    #[test]
    fn a_reference_meets_its_entity_under_the_same_key() {
        let router = router(prices("item", vec![key("sku", &["/item/sku"])])).expect("routes");
        let entity = router.entities_of(&FeedName::new("f"), "gateway.itemchanges").next().expect("carried");
        let parent = &router.routes()[0].parents()[0];
        let scratch = &mut Vec::new();
        let known = entity.keys()[0].of(br#"{"sku":7,"gtin":"40"}"#, scratch);
        let body = br#"{"item":{"sku":"7"}}"#;
        assert_eq!(parent.keys()[0].of(body, scratch), known);
        assert_eq!(parent.show(body), "item sku=7");
        assert!(entity.is_deleted_by(br#"{"deleted":true}"#) && !entity.is_deleted_by(b"{}"));
        assert_eq!(router.entities_of(&FeedName::new("f"), "Prices").count(), 0);
    }

    #[test]
    fn a_reference_that_can_never_be_met_is_refused_by_name() {
        for (parent, keys, said) in [
            ("store", vec![key("id", &["/id"])], "names the parent store"),
            ("item", vec![key("id", &["/id"])], "the key id"),
            ("item", vec![key("sku", &["/a", "/b"])], "the key sku"),
            ("item", vec![key("sku", &["a"])], "JSON pointer"),
        ] {
            let error = router(prices(parent, keys)).expect_err(said).to_string();
            assert!(error.contains("route prices") && error.contains(said), "{error}");
        }
        let twice = Router::new(Vec::new(), Match::First, &[item(), item()]);
        assert!(matches!(twice, Err(RouteError::SameEntity(_))));
    }
}
