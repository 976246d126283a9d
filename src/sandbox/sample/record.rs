//! The records: one JSON value for a number, the same for the same seed.

use fastrand::Rng;
use serde_json::{Value, json};

use super::Kind;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// 2026-01-01T00:00:00Z: samples lie in the year after.
const EPOCH_MS: i64 = 1_767_225_600_000;

const GOODS: [&str; 16] = [
    "Kaffe mørkbrent",
    "Grovbrød",
    "Helmelk",
    "Rømme",
    "Gulrøtter",
    "Jordbær",
    "Laksefilet",
    "Batteri AA",
    "Tørkepapir",
    "Rødvin",
    "Skjorte \"Oslo\"",
    "Støvel",
    "Lampe & skjerm",
    "Blomsterpotte",
    "Såpe <mild>",
    "Sjokolade, 70 %",
];
const SIZES: [&str; 8] = ["250 g", "500 g", "1 kg", "1 l", "4 pk", "str. M", "str. 42", "stk"];
const TOWNS: [&str; 8] = ["Oslo", "Bergen", "Trondheim", "Tromsø", "Ålesund", "Bodø", "Malmö", "Århus"];
const NAMES: [&str; 8] = ["Åse", "Bjørn", "Céline", "Dag", "Elif", "Frøya", "Göran", "Hanna"];
const SURNAMES: [&str; 8] = ["Nordmann", "Lund", "Østby", "Berg", "Søndergaard", "Kowalski", "Haugen", "Strand"];

/// How many store groups there are that stores and prices refer to.
pub(super) const STORE_GROUPS: u64 = 40;
/// The first of them are profiles, the next price zones, the others private.
const PROFILES: u64 = 3;
const PRICE_ZONES: u64 = 9;
const PRIVATE: u64 = PROFILES + PRICE_ZONES;
/// The last of so many items is a bundle.
pub(super) const BUNDLE_EVERY: u64 = 16;

/// The record of number `number`.
pub(super) fn record(kind: Kind, seed: u64, number: u64, parents: Option<u64>) -> Value {
    // One generator a record, so that a record does not depend on those before it.
    let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((kind as u64) << 56));
    match kind {
        Kind::Items => item(number, &mut rng),
        Kind::Prices => price(number, parents.map_or(number, |items| number % items.max(1)), &mut rng),
        Kind::Stores => store(number, &mut rng),
        Kind::Customers => customer(number, &mut rng),
        Kind::StoreGroups => store_group(number, &mut rng),
    }
}

fn one_of<'a>(rng: &mut Rng, list: &[&'a str]) -> &'a str {
    list[rng.usize(..list.len())]
}

/// What names an item, in its own record and in those that belong to it.
fn identifier(number: u64) -> Value {
    json!({
        "sku": format!("{}", 10_000_000 + number),
        "mainGTIN": gtin(number),
        "externalItemNo": format!("EXT-{number}"),
    })
}

/// A GTIN-13 of the Norwegian range with its check digit.
fn gtin(number: u64) -> String {
    let body = format!("709{:09}", number % 1_000_000_000);
    let sum: u32 =
        body.bytes().zip([1, 3].into_iter().cycle()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn moment(number: u64, rng: &mut Rng) -> String {
    let spread = i64::try_from(number % 300).unwrap_or(0) * DAY_MS + rng.i64(0..DAY_MS);
    crate::clock::UnixMs(EPOCH_MS + spread).to_string()
}

fn day(number: u64) -> String {
    let days = i64::try_from(number % 300).unwrap_or(0);
    crate::clock::UnixMs(EPOCH_MS + days * DAY_MS).to_timestamp().strftime("%Y-%m-%d").to_string()
}

fn item(number: u64, rng: &mut Rng) -> Value {
    json!({
        "identifier": identifier(number),
        "itemText": format!("{} {}", one_of(rng, &GOODS), one_of(rng, &SIZES)),
        "modelNo": format!("M{}", number / 4),
        "itemGroupNo": format!("{}", 100 + rng.u32(0..60)),
        "bundleContentItemReferences": bundled(number),
        "vat": [{ "code": if rng.u8(0..4) == 0 { "15" } else { "25" }, "countryCode": "NO" }],
        "status": { "isDeactivated": rng.u8(0..50) == 0, "isDeleted": rng.u8(0..100) == 0 },
        "lastChangedUtc": moment(number, rng),
    })
}

/// What a bundle is made of: items of the same row of [`BUNDLE_EVERY`], so that they come before it.
fn bundled(number: u64) -> Value {
    if number % BUNDLE_EVERY != BUNDLE_EVERY - 1 {
        return json!([]);
    }
    json!([
        { "quantity": 2, "item": identifier(number - 7) },
        { "quantity": 1, "item": identifier(number - 14) },
    ])
}

/// What names a store group, in its own record and in those that belong to it.
fn store_group_code(number: u64) -> (String, &'static str) {
    match number {
        0..PROFILES => (format!("P{number}"), "Profile"),
        PROFILES..PRIVATE => (format!("Z{}", number - PROFILES), "PriceZone"),
        _ => (format!("G{number:03}"), "Private"),
    }
}

fn store_group(number: u64, rng: &mut Rng) -> Value {
    let (code, kind) = store_group_code(number);
    let profile = if number < PROFILES { Value::Null } else { json!({ "code": format!("P{}", number % PROFILES) }) };
    json!({
        "code": code,
        "externalNo": format!("{number}"),
        "type": kind,
        "name": format!("{} {number}", one_of(rng, &TOWNS)),
        "profile": profile,
        "lastChangedUtc": moment(number, rng),
    })
}

fn price(number: u64, item: u64, rng: &mut Rng) -> Value {
    let group = rng.u64(..STORE_GROUPS);
    let (code, kind) = store_group_code(group);
    // Cents are counted whole, so that no amount has a tail of binary digits.
    let cents = rng.u32(1..20_000) * 10 + 90;
    let guid = uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid();
    json!({
        "priceGuid": guid.to_string(),
        "itemIdentifier": identifier(item),
        "storeGroup": { "code": code, "externalNo": format!("{group}"), "type": kind },
        "fromDate": day(number),
        "toDate": if rng.bool() { Value::Null } else { Value::from(day(number + 14)) },
        "salesPrice": { "amount": f64::from(cents) / 100.0, "currencyCode": "NOK" },
        "isFixedPrice": rng.u8(0..20) == 0,
        "status": if rng.u8(0..30) == 0 { "Deleted" } else { "Active" },
    })
}

fn store(number: u64, rng: &mut Rng) -> Value {
    let town = one_of(rng, &TOWNS);
    let teams = rng.usize(0..3);
    json!({
        "storeNo": format!("{}", 1_000 + number),
        "name": format!("{town} {}", one_of(rng, &["sentrum", "nord", "øst", "stasjon"])),
        // A price zone lies inside one profile: zone and profile leave the same rest.
        "profile": { "code": format!("P{}", number % PROFILES), "countryCode": "NO" },
        "priceZone": format!("Z{}", number % PRICE_ZONES),
        "teams": (0..teams).map(|team| format!("T{team}")).collect::<Vec<_>>(),
        "address": { "street": format!("Storgata {}", rng.u32(1..200)), "postalCode": format!("{:04}", rng.u32(100..9_999)), "city": town },
        "isOpen": rng.u8(0..25) != 0,
        "lastChangedUtc": moment(number, rng),
    })
}

fn customer(number: u64, rng: &mut Rng) -> Value {
    let (name, surname) = (one_of(rng, &NAMES), one_of(rng, &SURNAMES));
    json!({
        // The vendor's own samples carry numbers as text in places.
        "customerNo": format!("{}", 500_000 + number),
        "name": { "first": name, "last": surname },
        "email": format!("customer{number}@example.com"),
        "memberSince": day(number),
        "bonusPoints": rng.u32(0..50_000),
        "consent": { "email": rng.bool(), "sms": rng.bool() },
        "lastChangedUtc": moment(number, rng),
    })
}
