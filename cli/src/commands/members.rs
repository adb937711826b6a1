//! `gometa members`: the members and the leader, as one node knows them.

use std::io::Write;

use gometa_client::Member;
use serde_json::json;

use crate::{
    context::Context,
    output::{Failure, Format, write_json, write_table},
};

pub(super) async fn run(context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
    let view = context.client.view().await?;
    let leads = |member: &Member| view.leader.is_some() && member.request_address == view.leader;
    match context.format {
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
            write_table(out, &rows)?;
        }
    }
    Ok(0)
}
