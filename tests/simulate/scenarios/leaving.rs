//! tidegate's own end (P11).

use super::*;

#[test]
fn closings_are_announced_ever_more_often_and_nothing_is_lost() {
    play(async {
        let world = std::rc::Rc::new(World::with(2, service(secs(30)), 90).await);
        let asking: Vec<_> = (0..40)
            .map(|number| {
                let world = world.clone();
                tokio::task::spawn_local(async move {
                    let mut all = Vec::new();
                    let mut client = world.connect();
                    for turn in 0.. {
                        sleep(ms(500)).await;
                        let path = format!("now/{}/0", number * 1_000 + turn);
                        let asked = client.ask("POST", &path, NONE).await;
                        let (close, seen) = (asked.close, asked.seen.clone());
                        all.push(asked);
                        if seen == Seen::Nothing {
                            break;
                        } else if close {
                            client = world.connect();
                        }
                    }
                    all
                })
            })
            .collect();
        sleep(secs(1)).await;
        let signal = Instant::now();
        world.leave(secs(20), secs(60)).await;
        let mut all = Vec::new();
        for asking in asking {
            all.extend(asking.await.unwrap());
        }
        let share = |from: u64, until: u64| {
            let here: Vec<_> = all
                .iter()
                .filter(|asked| asked.ended >= signal + secs(from))
                .filter(|asked| asked.ended < signal + secs(until))
                .filter(|asked| asked.seen == Seen::Whole(200))
                .collect();
            let closed = here.iter().filter(|asked| asked.close).count();
            closed * 100 / here.len()
        };
        let shares = [share(0, 5), share(8, 12), share(15, 20)];
        assert!(shares[0] < 25 && shares[2] > 75, "P11: {shares:?}");
        assert!(shares.is_sorted(), "P11: {shares:?}");
        model::every_client_is_served(&world, &all);
        let world = std::rc::Rc::into_inner(world).unwrap();
        world.end().await;
    });
}

#[test]
fn idle_clients_are_closed_at_random_moments_behind_the_wait() {
    play(async {
        let world = World::with(1, service(secs(30)), 91).await;
        let mut clients = Vec::new();
        for number in 0..40 {
            let mut client = world.connect();
            let path = format!("now/{number}/0");
            client.ask("GET", &path, NONE).await;
            clients.push(client);
        }
        let signal = Instant::now();
        let leaving = world.leave(secs(4), secs(44));
        let watching = async {
            let mut ends = Vec::new();
            while !clients.is_empty() {
                sleep(ms(50)).await;
                for client in std::mem::take(&mut clients) {
                    let mut client = client;
                    if client.is_ended().await {
                        ends.push(signal.elapsed());
                    } else {
                        clients.push(client);
                    }
                }
            }
            ends
        };
        let (cut, ends) = tokio::join!(leaving, watching);
        assert_eq!(cut, 0);
        let (first, last) = (ends[0], ends[ends.len() - 1]);
        assert!(
            first >= secs(4),
            "P11: not before the wait is over: {first:?}"
        );
        assert!(last <= ms(14_200), "P11: within a quarter: {last:?}");
        assert!(
            last - first > secs(5),
            "P11: not together: {first:?} {last:?}"
        );
        world.end().await;
    });
}

#[test]
fn a_drain_goes_on_while_we_leave() {
    play(async {
        let world = World::with(2, service(secs(3)), 92).await;
        let cut = start(&world, "GET", "never/1/0");
        sleep(ms(10)).await;
        let number = place(&world, "never/1/0");
        let done = start(&world, "GET", "later/2/8000");
        sleep(ms(10)).await;
        world.list(number, |listed| *listed = None);
        let began = Instant::now();
        assert_eq!(world.leave(secs(5), secs(30)).await, 0);
        let asked = cut.await.unwrap();
        assert_eq!(asked.seen, Seen::Whole(504));
        assert!(asked.ended - began <= ms(3_250), "P5, as ever: {asked:?}");
        let done = done.await.unwrap();
        assert_eq!(done.seen, Seen::Whole(200), "P11");
        assert!(began.elapsed() <= ms(8_500), "no longer than need be");
        model::every_client_is_served(&world, &[asked, done]);
        world.end().await;
    });
}

#[test]
fn whoever_waits_to_be_accepted_is_served() {
    play(async {
        let world = World::with(2, service(secs(30)), 95).await;
        world.calm().await;
        // More than a worker accepts before it hears that it leaves.
        let waiting: Vec<_> = (0..600)
            .map(|number| start(&world, "POST", &format!("now/{number}/0")))
            .collect();
        world.leave(NONE, secs(10)).await;
        let mut all = Vec::new();
        for waiting in waiting {
            all.push(waiting.await.unwrap());
        }
        assert!(
            all.iter().all(|asked| asked.seen == Seen::Whole(200)),
            "P11"
        );
        model::held(&world, &all).await;
        world.end().await;
    });
}
