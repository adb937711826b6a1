//! `gometa members`: who the members are and who leads, as one node knows it.

use std::io::Write;

use gometa_client::{Client, Member};
use serde_json::json;

use crate::output::{Failure, Format, table, write_json};

pub(super) async fn run(client: &Client, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let view = client.view().await?;
    let leads = |member: &Member| view.leader.is_some() && member.request_address == view.leader;
    match format {
        Format::Json => {
            let member = |member: &Member| {
                json!({
                    "node": format!("{:016x}", member.node),
                    "message_address": member.message_address,
                    "request_address": member.request_address.as_deref().unwrap_or_default(),
                    "leader": leads(member),
                })
            };
            let members: Vec<_> = view.members.iter().map(member).collect();
            write_json(out, &json!({ "leader": view.leader, "role": view.role.name(), "members": members }))?;
        }
        Format::Table => {
            let mut rows = vec![["NODE", "MESSAGES", "REQUESTS", "LEADER"].map(str::to_owned).to_vec()];
            rows.extend(view.members.iter().map(|member| {
                vec![
                    format!("{:016x}", member.node),
                    member.message_address.clone(),
                    member.request_address.clone().unwrap_or_default(),
                    if leads(member) { "yes" } else { "no" }.to_owned(),
                ]
            }));
            table(out, &rows)?;
        }
    }
    Ok(())
}
