//! `gometa members`: who the members are and who leads, as one node knows it.

use std::io::Write;

use gometa_client::Client;
use serde_json::json;

use super::role_name;
use crate::output::{Failure, Format, table, write_json};

pub(super) async fn run(client: &Client, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let view = client.view().await?;
    let leads = |address: &str| !address.is_empty() && address == view.leader;
    match format {
        Format::Json => {
            let member = |member: &gometa_client::Member| {
                json!({
                    "node": format!("{:016x}", member.node),
                    "message_address": member.message_address,
                    "request_address": member.request_address,
                    "leader": leads(&member.request_address),
                })
            };
            let members: Vec<_> = view.members.iter().map(member).collect();
            let leader = Some(&view.leader).filter(|leader| !leader.is_empty());
            write_json(
                out,
                &json!({ "leader": leader, "role": role_name(view.role()), "members": members }),
            )?;
        }
        Format::Table => {
            let mut rows = vec![["NODE", "MESSAGES", "REQUESTS", "LEADER"].map(str::to_owned).to_vec()];
            rows.extend(view.members.iter().map(|member| {
                vec![
                    format!("{:016x}", member.node),
                    member.message_address.clone(),
                    member.request_address.clone(),
                    if leads(&member.request_address) { "yes" } else { "no" }.to_owned(),
                ]
            }));
            table(out, &rows)?;
        }
    }
    Ok(())
}
