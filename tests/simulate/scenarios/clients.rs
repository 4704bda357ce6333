//! Clients that go, and connections that were closed: nothing stays behind, and nothing is done twice (P6, P10, P12).

use super::*;

#[test]
fn a_client_that_goes_gives_its_place_back() {
    play(async {
        let script = [
            ("GET", "never/1/0", NONE),
            ("GET", "hang/2/0", NONE),
            ("GET", "drip/3/60000", NONE),
            ("GET", "events/4/60000", NONE),
            ("POST", "now/5/0", secs(60)),
            ("POST", "early/6/60000", secs(60)),
        ];
        for (number, (method, path, upload)) in script.into_iter().enumerate() {
            let world = World::with(1, service(secs(300)), 70 + number as u64).await;
            let mut client = world.connect();
            let left = client.ask_for(method, path, upload, secs(2)).await;
            assert_eq!(left.seen, Seen::Left, "{path}");
            model::holds(&world).await;
            world.list(0, |listed| *listed = None);
            world.calm().await;
            assert_eq!(world.state_of(&"web-0".into()).await, None, "P6: {path}");
            model::held(&world, &[left]).await;
            world.end().await;
        }
    });
}

#[test]
fn a_client_that_goes_while_it_waits_is_not_waited_for() {
    play(async {
        let mut settings = service(secs(30));
        settings.limits.connections_per_endpoint = 1;
        let world = World::with(1, settings, 80).await;
        let running = start(&world, "GET", "later/1/1000");
        sleep(ms(10)).await;
        let mut impatient = world.connect();
        let left = impatient.ask_for("GET", "now/2/0", NONE, ms(500)).await;
        assert_eq!(left.seen, Seen::Left);
        let behind = start(&world, "GET", "now/3/0").await.unwrap();
        assert!(behind.ended - behind.began <= ms(600), "{behind:?}");
        let all = [running.await.unwrap(), left, behind];
        assert_eq!(world.endpoints[0].count(), 2, "its request never began");
        model::held(&world, &all).await;
        world.end().await;
    });
}

#[test]
fn a_drain_goes_on_when_its_client_goes_in_the_middle() {
    play(async {
        let world = World::with(1, service(secs(30)), 81).await;
        let mut client = world.connect();
        let leaving = client.ask_for("GET", "drip/1/60000", NONE, secs(3));
        let drain = async {
            sleep(secs(1)).await;
            world.list(0, |listed| *listed = None);
        };
        let (left, ()) = tokio::join!(leaving, drain);
        sleep(ms(10)).await;
        let report = world.reports().await[0].clone();
        assert_eq!(report.outcome, Some(Outcome::Clean));
        assert_eq!(report.took.unwrap().as_secs(), 2, "P6");
        model::held(&world, &[left]).await;
        world.end().await;
    });
}

#[test]
fn what_died_on_a_connection_that_had_served_is_sent_again_elsewhere_once() {
    play(async {
        let world = World::with(2, service(secs(30)), 82).await;
        let mut all = Vec::new();
        let mut client = world.connect();
        for number in 0..20 {
            let path = format!("now/{number}/0");
            all.push(client.ask("GET", &path, NONE).await);
        }
        // Nobody answers this one, so the second attempt fails, too, and there is no third.
        let closed = client.ask("GET", "close/100/0", NONE).await;
        assert_eq!(closed.seen, Seen::Whole(502));
        let runs: Vec<usize> = world
            .endpoints
            .iter()
            .map(|endpoint| {
                let begun = endpoint.begun.borrow();
                begun
                    .iter()
                    .filter(|begun| begun.path == "close/100/0")
                    .count()
            })
            .collect();
        assert_eq!(runs, [1, 1], "P10: once more, and elsewhere");
        all.push(closed);
        model::held(&world, &all).await;
        world.end().await;
    });
}

#[test]
fn a_connection_that_was_closed_while_idle_costs_nobody_an_answer() {
    play(async {
        let world = World::with(2, service(secs(30)), 83).await;
        let mut all = Vec::new();
        for round in 0..10 {
            for number in 0..4 {
                let path = format!("now/{}/0", round * 10 + number);
                all.push(start(&world, "POST", &path).await.unwrap());
            }
            world
                .endpoints
                .iter()
                .for_each(|endpoint| endpoint.hang_up());
            sleep(ms(1)).await;
        }
        world.must_shield.set(true);
        model::held(&world, &all).await;
        world.end().await;
    });
}
