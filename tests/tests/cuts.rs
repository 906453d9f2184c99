//! Links that are cut between peers that all live: requests go round, and a minority says that it is one.

use hcube_tests::{Apart, eventually, seconds};

/// A way as an answer tells it, `00>01>11`, as vertices.
fn path(answer: &hcube_tests::Answer) -> Vec<u16> {
    let header = answer.header("hcube-path").unwrap_or_default();
    header.split('>').filter_map(|label| u16::from_str_radix(label, 2).ok()).collect()
}

#[test]
fn requests_go_round_a_cut_and_a_minority_refuses_writes() {
    let Some(apart) = Apart::up(5) else {
        // Where this user may not make network namespaces, `hcube verify --partition` cuts by other means.
        assert!(!rustix::process::geteuid().is_root(), "root may make network namespaces");
        return;
    };
    apart.create_topic("t");
    let (leader, _) = apart.leader(0, "t");
    for asked in apart.vertices().filter(|vertex| *vertex != leader) {
        apart.cut(asked, leader);
        let what = format!("a publish from {asked} to {leader} that goes round");
        let answer = eventually(&what, seconds(30), || {
            apart.publish(asked, "t", "round").ok().filter(|answer| answer.status == 200)
        });
        let way = path(&answer);
        // A replica that hears no more of its leader may have been made to lead by the time it is asked.
        let (leads_now, _) = apart.leader(asked, "t");
        if leads_now == leader {
            assert!(way.len() >= 3, "{way:?} is straight, though the link is cut");
            assert_eq!((way.first(), way.last()), (Some(&asked), Some(&leader)), "{answer}");
        }
        // What is published elsewhere is read here, also where a replica of its own has fallen behind.
        let other = apart.vertices().find(|vertex| *vertex != asked && *vertex != leader);
        let mark = format!("mark-{asked}");
        let published = eventually("a publish elsewhere", seconds(30), || {
            apart.publish(other?, "t", &mark).ok().filter(|answer| answer.status == 200)
        });
        let offset = published.json()["offset"].as_u64().unwrap_or_default();
        let messages = format!("/v1/topics/t/messages?partition=0&from={offset}&wait=5000");
        eventually("the message behind the cut", seconds(30), || {
            apart.get(asked, &messages).ok().filter(|answer| answer.text().contains(&mark))
        });
        apart.mend(asked, leader);
    }

    // One peer alone is a minority of everything.
    let (leader, _) = apart.leader(0, "t");
    let others: Vec<u16> = apart.vertices().filter(|vertex| *vertex != leader).collect();
    others.iter().for_each(|other| apart.cut(leader, *other));
    let goes_on = eventually("another leader", seconds(30), || {
        apart.publish(others[0], "t", "majority").ok().filter(|answer| answer.status == 200)
    });
    assert!(!path(&goes_on).contains(&leader), "{goes_on}");
    // As long as it does not know that it leads no more, it cannot tell what becomes of a message. Then it can.
    let mut number = 0;
    let (refused, refused_value) = eventually("a refusal", seconds(60), || {
        number += 1;
        let value = format!("minority-{number}");
        let answer = apart.publish(leader, "t", &value).ok()?;
        assert!([503, 504].contains(&answer.status), "{answer}");
        (answer.status == 503).then_some((answer, value))
    });
    let _ = refused.clone().expect_problem(503, "no-leader");
    let detail = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("majority"), "{refused}");
    others.iter().for_each(|other| apart.mend(leader, *other));
    eventually("the peer that was alone serves again", seconds(30), || {
        apart.publish(leader, "t", "healed").ok().filter(|answer| answer.status == 200)
    });
    // Nothing that the minority refused has come to be.
    let all = apart.get(0, "/v1/topics/t/messages?partition=0&from=earliest&limit=1000");
    let all = all.unwrap_or_else(|error| panic!("{error}")).text();
    assert!(all.contains("majority") && !all.contains(&refused_value), "{all}");
}
