//! For fuzz targets: the signatures in a text, and that none of them is shown.

/// Long words of our own messages, in lower case.
const OUR_WORDS: &str = "sharedaccesssignature sharedaccesskeyname blobbaseurlswithtoken usedevelopmentemulator \
    servicebussubscriptionconnectionstring servicebussubscriptionname usenewsbconnectionstringformat";

/// Every `sig=` in `text` that is long enough to be found again.
fn signatures(text: &str) -> Vec<String> {
    let lower = text.to_ascii_lowercase();
    let starts = lower.match_indices("sig=").map(|(at, mark)| at + mark.len());
    let signature = |start: usize| text[start..].chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    // One that also stands elsewhere, unmarked, is no secret that anybody could know as such; nor is a piece of a word that
    // our own messages say.
    let is_marked = |signature: &String| {
        signature.len() >= 12
            && !OUR_WORDS.contains(&signature.to_ascii_lowercase())
            && lower.matches(&signature.to_ascii_lowercase()).count()
                == lower.matches(&format!("sig={}", signature.to_ascii_lowercase())).count()
    };
    starts.map(signature).filter(is_marked).collect()
}

/// Holds that `shown` shows none of the signatures in `text`.
pub(crate) fn assert_hidden(text: &str, shown: &str) {
    for signature in signatures(text) {
        assert!(!shown.contains(&signature), "a signature is shown in {shown:?}");
    }
}
