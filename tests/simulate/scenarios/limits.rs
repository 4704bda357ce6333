//! Limits and shares, over all workers.

use super::*;

#[test]
fn an_idle_connection_of_another_worker_makes_room() {
    play(async {
        let mut settings = service(secs(30));
        settings.limits.connections_per_endpoint = 1;
        let world = World::with(1, settings, 60).await;
        let mut all = Vec::new();
        for number in 0..6 {
            let mut client = world.connect_to(number % 2);
            let path = format!("now/{number}/0");
            let asked = client.ask("GET", &path, NONE).await;
            assert_eq!(asked.seen, Seen::Whole(200));
            assert!(asked.ended - asked.began < ms(100), "{asked:?}");
            all.push(asked);
        }
        model::held(&world, &all).await;
        world.end().await;
    });
}

#[test]
fn nobody_waits_longer_than_for_their_turn() {
    play(async {
        let mut settings = service(secs(30));
        settings.limits.connections_per_endpoint = 2;
        let world = World::with(1, settings, 61).await;
        let waiting: Vec<_> = (0..40)
            .map(|number| start(&world, "POST", &format!("later/{number}/100")))
            .collect();
        let began = Instant::now();
        let mut all = Vec::new();
        for asked in waiting {
            all.push(asked.await.unwrap());
        }
        assert!(began.elapsed() <= ms(2_200), "{:?}", began.elapsed());
        model::held(&world, &all).await;
        world.end().await;
    });
}

#[test]
fn who_waits_is_served_when_another_endpoint_comes() {
    play(async {
        let mut settings = service(secs(30));
        settings.limits.connections_per_endpoint = 1;
        let world = World::with(2, settings, 62).await;
        world.list(1, |listed| *listed = None);
        world.calm().await;
        let running = start(&world, "GET", "later/1/5000");
        sleep(ms(10)).await;
        let waiting = start(&world, "GET", "now/2/0");
        sleep(secs(1)).await;
        world.list(1, |listed| *listed = Some(observed(1)));
        let asked = waiting.await.unwrap();
        assert!(asked.ended - asked.began <= ms(1_100), "{asked:?}");
        let all = [asked, running.await.unwrap()];
        model::held(&world, &all).await;
        world.end().await;
    });
}

#[test]
fn a_wait_under_a_limit_is_over_in_time() {
    play(async {
        let mut settings = service(secs(30));
        settings.limits.connections_per_endpoint = 1;
        settings.timeouts.request = secs(3);
        let world = World::with(1, settings, 63).await;
        let running = start(&world, "GET", "bare/1/10000");
        sleep(ms(10)).await;
        let waiting = start(&world, "GET", "now/2/0").await.unwrap();
        assert_eq!(waiting.seen, Seen::Whole(503));
        let waited = waiting.ended - waiting.began;
        assert!(waited >= secs(3) && waited <= ms(3_100), "{waited:?}");
        assert_eq!(running.await.unwrap().seen, Seen::Whole(200));
        world.end().await;
    });
}

#[test]
fn a_new_endpoint_gets_a_share_that_grows() {
    play(async {
        let mut settings = service(secs(30));
        settings.slow_start = secs(10);
        let world = World::with(2, settings, 64).await;
        world.list(1, |listed| *listed = None);
        world.calm().await;
        world.list(1, |listed| *listed = Some(observed(1)));
        world.calm().await;
        let mut shares = Vec::new();
        for part in 0..3 {
            let before = world.endpoints[1].count();
            for number in 0..100 {
                let path = format!("now/{}/0", part * 100 + number);
                start(&world, "GET", &path).await.unwrap();
            }
            shares.push(world.endpoints[1].count() - before);
            sleep(secs(5)).await;
        }
        assert!(shares[0] <= 25, "{shares:?}");
        assert!(shares[0] < shares[1] && shares[1] < shares[2], "{shares:?}");
        assert!(shares[2] >= 35, "{shares:?}");
        world.end().await;
    });
}

#[test]
fn a_connection_that_becomes_free_serves_somebody_who_waits() {
    play(async {
        let mut settings = service(secs(30));
        settings.limits.connections_per_endpoint = 1;
        let world = World::with_workers(1, 2, settings, 65).await;
        let long = start(&world, "GET", "later/1/5000");
        sleep(ms(10)).await;
        let free = 1 - place(&world, "later/1/5000");
        // It fails there once, and waits for the other.
        world.endpoints[free].refuse();
        let choosy = start(&world, "GET", "now/2/0");
        sleep(ms(10)).await;
        world.endpoints[free].come_back(&world.net);
        let short = start(&world, "GET", "later/3/1000");
        sleep(ms(10)).await;
        let behind = start(&world, "GET", "now/4/0");
        let behind = behind.await.unwrap();
        assert!(behind.ended - behind.began <= ms(1_100), "{behind:?}");
        let mut all = vec![behind];
        for other in [choosy, short, long] {
            all.push(other.await.unwrap());
        }
        assert!(all.iter().all(|asked| asked.seen == Seen::Whole(200)));
        model::held(&world, &all).await;
        world.end().await;
    });
}
