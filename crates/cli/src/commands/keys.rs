//! `sprat keys create`.

use super::Context;
use crate::args::KeysCommand;
use crate::codes;
use serde_json::json;
use sprat_flow::Done;
use sprat_report::Page;
use sprat_serve::keys::Role;
use sprat_task::{Error, Result, write};

/// Makes a key, adds its hash to the key file, and shows the key once.
pub(super) fn run(context: &Context, command: &KeysCommand) -> Result<Done> {
    let KeysCommand::Create { file, admin, name } = command;
    let file = match file {
        Some(file) => file.clone(),
        None => {
            let settings = context.settings()?;
            let named = settings.serve.api_keys.as_ref().map(|path| settings.resolve(path));
            named.ok_or_else(|| Error::new(&codes::KEY_FILE, "no key file is named"))?
        }
    };
    let role = if *admin { Role::Admin } else { Role::Client };
    let created = sprat_serve::keys::create(name, role)?;
    let mut lines = match std::fs::read_to_string(&file) {
        Ok(lines) => lines,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(why) => return Err(Error::io(&codes::INPUT, "read the key file", &file, &why)),
    };
    if !lines.is_empty() && !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines += &created.line;
    lines.push('\n');
    write::bytes(&file, lines.as_bytes())
        .map_err(|why| Error::io(&codes::OUTPUT, "write the key file", &file, &why))?;
    let may = match role {
        Role::Client => "ask models and look",
        Role::Admin => "ask models, look, promote and roll back",
    };
    let page = Page::new("A new key")
        .facts([("name", name.as_str()), ("key", &created.key), ("may", may)])
        .paragraph("It is shown this once; the file holds only its hash.");
    let body = json!({ "name": name, "key": created.key, "admin": admin, "file": file });
    Ok(Done::new("sprat.keys/1", body, page))
}
