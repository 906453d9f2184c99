//! Whether this operator may look after a Hypercube now.

use std::time::Instant;

use hcube_crd::Hypercube;
use kube::Resource;
use kube::runtime::controller::Action as Next;
use kube::runtime::events::EventType;

use super::{SOON, write};
use crate::context::Context;
use crate::error::Error;
use crate::tenure::Turn;

/// When to look again where another operator looks after the Hypercube, or did a moment ago; none where this one may
/// act now.
pub(super) async fn not_now(context: &Context, hypercube: &Hypercube) -> Result<Option<Next>, Error> {
    let (own, now) = (&context.operator, Instant::now());
    let uid = hypercube.metadata.uid.as_deref().unwrap_or_default();
    let status = hypercube.status.clone().unwrap_or_default();
    let holder = status.operator.clone();
    let other = holder.clone().unwrap_or_default();
    let pause = match context.tenure.turn(uid, own, holder.as_deref(), now) {
        Turn::Act => return Ok(None),
        Turn::Wait(rest) => rest,
        Turn::Claim { is_contested } => {
            let mut next = status;
            next.operator = Some(own.clone());
            write::status(context, hypercube, &next).await?;
            context.tenure.claimed(uid, is_contested, now);
            if is_contested {
                warn(context, hypercube, format!("{own} looks after this Hypercube, and {other} tried to"))
                    .await;
            } else {
                let note = format!("{own} is to look after it in place of {other}");
                context
                    .events
                    .publish(&hypercube.object_ref(&()), EventType::Normal, "TakenOver", note)
                    .await;
            }
            SOON
        }
        Turn::Leave { pause, is_news } => {
            if is_news {
                let names = context.names(hypercube);
                context.metrics.gone(&names.namespace, &names.name);
                warn(
                    context,
                    hypercube,
                    format!("{other} looks after this Hypercube, and {own} leaves it alone"),
                )
                .await;
            }
            pause
        }
    };
    Ok(Some(Next::requeue(pause)))
}

async fn warn(context: &Context, hypercube: &Hypercube, what: String) {
    tracing::warn!(name = hypercube.metadata.name, "{what}");
    let note = format!("{what}: no two operators may watch the same namespace");
    context.events.publish(&hypercube.object_ref(&()), EventType::Warning, "OtherOperator", note).await;
}
