"""Replicas that share a CA, and a client that verifies and never fails."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.errors import Missing, Unreachable
from certs.rotation import Rotation
from certs.trust import AUTHORITY_LIFETIME, LEAF_LIFETIME, parse
from certs.x509 import is_ours, load_bundle, load_signer, new_signer
from tests.certs.fake import NAMES, FakeCluster, TestClock, replica, settle
from tests.certs.handshake import handshake
from tests.certs.test_x509 import verify

YEAR = timedelta(days=365)
# How late an API server may act on a caBundle in these tests: less than what a leaf waits.
LAG = 4.0


@pytest.fixture
def clock() -> TestClock:
    """True time: the API server's."""
    return TestClock()


@pytest.fixture
def cluster(clock: TestClock) -> FakeCluster:
    """A freshly installed cluster."""
    return FakeCluster(clock)


@pytest.fixture
def pair(cluster: FakeCluster, clock: TestClock) -> list[Rotation]:
    """Two replicas that have settled."""
    replicas = [replica(cluster), replica(cluster)]
    settle(*replicas, clock=clock)
    cluster.writes.clear()
    return replicas


def live_bundle(cluster: FakeCluster) -> bytes:
    """The caBundle there is."""
    assert cluster.webhooks
    return cluster.webhooks["inject.s3.mount"]


def test_a_fresh_cluster_gets_one_ca_and_every_replica_a_leaf(cluster, clock):
    """A strict verifier that has nothing but the caBundle accepts both replicas."""
    replicas = [replica(cluster), replica(cluster)]
    settle(*replicas, clock=clock, seconds=10)
    for one in replicas:
        status = one.step()
        assert status.ready
        verify(status.leaf.certificate, live_bundle(cluster), clock.now(), NAMES[0])
    assert cluster.writes == ["create", "bundle"]


def test_the_replicas_leaves_have_keys_of_their_own(pair):
    """No private key of a server is shared or stored."""
    one, two = (replica_.step().leaf for replica_ in pair)
    assert one.key != two.key


def test_a_settled_cluster_is_left_alone(cluster, clock, pair):
    """An hour of polling writes nothing."""
    for _ in range(600):
        clock.advance(6)
        assert all(one.step().ready for one in pair)
    assert cluster.writes == []


def test_of_two_that_create_the_secret_one_wins_and_both_use_it(cluster, clock):
    """The loser meets a Conflict and adopts."""
    first, second = replica(cluster), replica(cluster)
    second_went = []
    cluster.between = lambda: second_went.append(second.step())
    first.step()
    cluster.between = lambda: None
    settle(first, second, clock=clock, seconds=10)
    issuers = {one.step().leaf.issuer for one in (first, second)}
    assert issuers == {parse(cluster.secret.data).authority}
    assert cluster.writes.count("create") == 1


def test_an_existing_secret_is_adopted(cluster, clock):
    """A CA that an earlier installation left goes on."""
    signer = new_signer(clock.now(), YEAR)
    cluster.overwrite_secret(ca_crt=signer.authority.certificate, ca_key=signer.key)
    one = replica(cluster)
    settle(one, clock=clock, seconds=10)
    assert one.step().leaf.issuer == signer.authority
    assert cluster.writes == ["bundle"]


def test_an_empty_secret_is_filled(cluster, clock):
    """As an operator or a GitOps tool may have made it."""
    cluster.overwrite_secret()
    one = replica(cluster)
    settle(one, clock=clock, seconds=10)
    assert one.step().ready
    assert cluster.writes == ["replace", "bundle"]


def test_a_leaf_is_renewed_at_two_thirds_of_its_week(clock, pair):
    """Not before, and long before it is over."""
    leaf = pair[0].step().leaf
    clock.advance(days=4.6)
    assert pair[0].step().leaf is leaf
    clock.advance(days=0.1)
    status = pair[0].step()
    assert status.renewed
    assert status.ready
    assert status.leaf.not_after == clock.now() + LEAF_LIFETIME


def test_the_ca_is_rotated_at_two_thirds_of_its_year(cluster, clock, pair):
    """By one replica; the other takes it up. The old key is gone."""
    old = parse(cluster.secret.data)
    clock.advance(days=365 * 2 / 3)
    settle(*pair, clock=clock)
    new = parse(cluster.secret.data)
    assert new.authority != old.authority
    assert new.previous == (old.authority,)
    assert cluster.writes == ["replace", "bundle"]
    assert old.signer.key not in cluster.secret.data.values()
    assert {one.step().leaf.issuer for one in pair} == {new.authority}


def test_during_a_rotation_the_bundle_has_both_and_the_old_leaf_serves_on(cluster, clock, pair):
    """Nobody changes over before the new CA has been in the live bundle for a minute."""
    clock.advance(days=365 * 2 / 3)
    pair[0].step(), pair[0].step()
    clock.advance(10)
    old = pair[1].step().leaf
    assert len(load_bundle(live_bundle(cluster))) == 2
    assert old.issuer == load_bundle(live_bundle(cluster))[1]
    clock.advance(61)
    assert pair[1].step().leaf.issuer == load_bundle(live_bundle(cluster))[0]


def test_the_old_ca_leaves_the_bundle_after_its_last_leaf(cluster, clock, pair):
    """A week and a day: then nothing can have a leaf of it."""
    clock.advance(days=365 * 2 / 3)
    settle(*pair, clock=clock)
    clock.advance(days=7)
    settle(*pair, clock=clock)
    assert len(load_bundle(live_bundle(cluster))) == 2
    clock.advance(days=1.1)
    settle(*pair, clock=clock)
    assert load_bundle(live_bundle(cluster)) == (parse(cluster.secret.data).authority,)


def test_years_of_rotation_never_fail_a_client_that_verifies(cluster, clock, pair):
    """Three years in steps of three days, with API servers that act late."""
    authorities = set()
    for _ in range(365):
        clock.advance(days=2.9)
        settle(*pair, clock=clock, seconds=2)
        for one in pair:
            status = one.step()
            authorities.add(status.leaf.issuer)
            assert status.ready
            assert cluster.trusts(status.leaf, LAG)
    assert len(authorities) >= 4


def test_a_real_handshake_works_with_every_leaf_of_a_rotation(cluster):
    """OpenSSL, with the caBundle of the moment, before, during and after."""
    clock = cluster.clock
    # The standard library's TLS takes the time of this machine.
    clock.shift = datetime.now(UTC) - clock.now() - timedelta(days=365 * 2 / 3, minutes=1)
    one = replica(cluster)
    settle(one, clock=clock, seconds=30)
    live_through(one, clock=clock, days=365 * 2 / 3)
    issuers = set()
    for _ in range(80):
        leaf = one.step().leaf
        issuers.add(leaf.issuer)
        assert handshake(leaf, live_bundle(cluster), NAMES[0]) == "TLSv1.3"
        clock.advance(1)
    assert len(issuers) == 2


def test_an_overwritten_bundle_is_repaired(cluster, clock, pair):
    """Not ready while it is wrong; right again after one round."""
    for wrong in (b"", b"garbage", new_signer(clock.now(), YEAR).authority.certificate):
        cluster.overwrite_bundle(wrong)
        assert pair[0].step().ready is False
        assert pair[0].step().ready is True
        assert load_bundle(live_bundle(cluster)) == (parse(cluster.secret.data).authority,)


def test_a_foreign_certificate_beside_ours_is_taken_out(cluster, clock, pair):
    """Who appends a CA of his own to the bundle could answer in our name."""
    ours = live_bundle(cluster)
    cluster.overwrite_bundle(ours + new_signer(clock.now(), YEAR).authority.certificate)
    assert pair[0].step().ready is True
    assert live_bundle(cluster) == ours


def test_a_leaf_among_the_trusted_is_taken_out(cluster, pair):
    """Verifiers trust whatever is in the bundle, CA or not."""
    ours = live_bundle(cluster)
    cluster.overwrite_bundle(ours + pair[1].step().leaf.certificate)
    pair[0].step()
    assert live_bundle(cluster) == ours


def test_a_second_webhook_without_bundle_is_given_one(cluster, pair):
    """Ready means every webhook of the configuration."""
    cluster.webhooks["other.s3.mount"] = b""
    assert pair[0].step().ready is False
    assert pair[0].step().ready is True
    assert len(set(cluster.webhooks.values())) == 1


def test_a_deleted_secret_is_put_back(cluster, clock, pair):
    """By whichever replica notices, with the same CA: no leaf changes."""
    before, leaves = parse(cluster.secret.data), [one.step().leaf for one in pair]
    cluster.secret = None
    settle(*pair, clock=clock)
    assert parse(cluster.secret.data) == before
    assert [one.step().leaf for one in pair] == leaves
    assert cluster.writes == ["create"]


def test_a_secret_deleted_every_other_second_costs_nothing(cluster, clock, pair):
    """As by a tool that prunes what it doesn't know."""
    leaves = [one.step().leaf for one in pair]
    for _ in range(300):
        cluster.secret = None
        settle(*pair, clock=clock, seconds=2)
        assert all(one.step().ready for one in pair)
    assert [one.step().leaf for one in pair] == leaves


def test_who_missed_a_rotation_does_not_put_the_old_ca_back(cluster, clock, pair):
    """Its memory of the Secret is old, as the live bundle shows."""
    late, quick = pair
    live_through(*pair, clock=clock, days=365 * 2 / 3 - 1)
    clock.advance(days=1)
    settle(quick, clock=clock)
    cluster.secret = None
    late.step()
    assert cluster.trusts(quick.step().leaf)
    assert cluster.trusts(late.step().leaf)


def test_a_newcomer_after_the_deletion_keeps_the_others_trusted(cluster, clock, pair):
    """Who never knew the old CA takes it from the live bundle."""
    cluster.secret = None
    newcomer = replica(cluster)
    settle(newcomer, clock=clock, seconds=3)
    assert cluster.trusts(pair[0].step().leaf, LAG)
    assert len(load_bundle(live_bundle(cluster))) == 2


def test_secret_deleted_and_bundle_emptied_at_once_heals(cluster, clock, pair):
    """What a careless clean-up does: the replica's own leaf says what to trust."""
    cluster.secret = None
    cluster.overwrite_bundle(b"")
    leaf = pair[0].step().leaf
    assert cluster.trusts(leaf)
    settle(*pair, clock=clock)
    assert all(one.step().ready for one in pair)


@pytest.mark.parametrize("key", ["ca_crt", "ca_key", "previous_crt"])
@pytest.mark.parametrize("value", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_garbage_in_the_secret_is_replaced_without_a_failure(cluster, clock, pair, key, value):
    """As after a deletion: nobody who verifies notices."""
    cluster.overwrite_secret(**{key: value})
    for _ in range(70):
        assert all(cluster.trusts(one.step().leaf, LAG) for one in pair)
        clock.advance(1)
    trust = parse(cluster.secret.data)
    assert all(one.step().leaf.issuer == trust.authority for one in pair)


def test_cas_lost_again_and_again_keep_the_bundle_small(cluster, clock):
    """Each new CA keeps the one before for a week, up to a number."""
    for _ in range(12):
        cluster.secret = None
        newcomer = replica(cluster)
        settle(newcomer, clock=clock, seconds=10)
        assert cluster.trusts(newcomer.step().leaf, LAG)
    assert len(load_bundle(live_bundle(cluster))) == 9


def test_a_secret_restored_from_an_old_backup_costs_seconds(cluster, clock, pair):
    """Its CA is taken up once it has settled; until then the replicas aren't ready."""
    backup = new_signer(clock.now(), AUTHORITY_LIFETIME)
    data = {"ca_crt": backup.authority.certificate, "ca_key": backup.key, "previous_crt": b""}
    cluster.overwrite_secret(**data)
    settle(*pair, clock=clock, seconds=2)
    assert [one.step().ready for one in pair] == [False, False]
    settle(*pair, clock=clock, seconds=6)
    for one in pair:
        assert one.step().ready
        assert one.step().leaf.issuer == backup.authority


def test_the_key_of_another_ca_in_the_secret_is_noticed(cluster, clock, pair):
    """Leaves signed with it would be refused by everybody."""
    cluster.overwrite_secret(ca_key=new_signer(clock.now(), YEAR).key)
    settle(*pair, clock=clock)
    data = cluster.secret.data
    assert load_signer(data["ca.crt"], data["ca.key"])
    assert all(cluster.trusts(one.step().leaf, LAG) for one in pair)


def test_an_expired_ca_is_replaced_at_once(cluster, clock):
    """A cluster that was switched off for a year comes up by itself."""
    one = replica(cluster)
    settle(one, clock=clock, seconds=10)
    clock.advance(days=400)
    newcomer = replica(cluster)
    settle(newcomer, clock=clock, seconds=10)
    status = newcomer.step()
    assert status.ready
    assert cluster.trusts(status.leaf, LAG)
    assert load_bundle(live_bundle(cluster)) == (status.leaf.issuer,)


def test_while_the_api_server_is_away_the_leaf_serves_on(cluster, clock, pair):
    """Readiness doesn't flap: what was last seen counts."""
    cluster.down = True
    clock.advance(hours=5)
    status = pair[0].step()
    assert status.ready
    assert isinstance(status.problem, Unreachable)


def test_a_leaf_is_renewed_even_while_the_api_server_is_away(cluster, clock, pair):
    """With the CA that was last read; the server is trusted when it comes back."""
    cluster.down = True
    clock.advance(days=6.99)
    assert pair[0].step().renewed
    clock.advance(days=6.99)
    status = pair[0].step()
    assert status.renewed
    assert cluster.trusts(status.leaf)


def test_who_starts_while_the_api_server_is_away_claims_nothing(cluster, clock):
    """Neither ready nor not: an agent that restarts doesn't take a good replica out."""
    cluster.down = True
    status = replica(cluster).step()
    assert (status.leaf, status.ready) == (None, None)


def test_a_restarted_agent_goes_on_with_the_leaf_in_service(cluster, clock, pair):
    """No new certificate, ready from the first look."""
    leaf = pair[0].step().leaf
    status = Rotation(cluster, clock, NAMES, leaf).step()
    assert (status.leaf, status.renewed, status.ready) == (leaf, False, True)


def test_an_expired_leaf_is_never_ready(cluster, clock, pair):
    """Not even when nobody can be asked."""
    leaf = pair[0].step().leaf
    cluster.down = True
    clock.advance(days=8)
    assert Rotation(cluster, clock, NAMES, leaf).step().ready is False


def test_without_a_webhook_configuration_nothing_is_ready(cluster, pair):
    """Deleted, as in an uninstallation; comes back with the manifests."""
    cluster.webhooks = None
    status = pair[0].step()
    assert status.ready is False
    assert isinstance(status.problem, Missing)
    cluster.overwrite_bundle(b"")
    pair[0].step()
    assert pair[0].step().ready is True


@pytest.mark.parametrize("shift", [timedelta(days=d) for d in (-400, -1, 1, 300, 4000)])
def test_a_wrong_clock_follows_the_api_servers(cluster, clock, pair, shift):
    """The API server verifies, so its clock decides; a jump neither rotates nor breaks anything."""
    jumping = TestClock(clock)
    lost = replica(cluster, jumping)
    settle(lost, clock=clock, seconds=20)
    jumping.shift = shift
    settle(lost, *pair, clock=clock, seconds=20)
    status = lost.step()
    assert status.ready
    assert cluster.trusts(status.leaf, LAG)
    assert "replace" not in cluster.writes


def test_a_wrong_clock_is_told_once(cluster, clock):
    """One warning with the seconds, not one a round."""
    lost = replica(cluster, TestClock(clock, timedelta(hours=2)))
    events = [event for _ in range(20) for event in lost.step().events]
    (skew,) = (event for event in events if event.name == "clock-skew")
    assert skew.warning
    assert skew.fields == {"seconds": "-7200"}


@pytest.mark.parametrize("shifts", [(61, 59), (0, 300), (62, 61, 0)])
def test_a_clock_at_the_edge_is_told_once_per_change(cluster, clock, shifts):
    """Neither a clock that is nearly right nor API servers that disagree fill the log."""
    wrong = TestClock(clock)
    lost = replica(cluster, wrong)
    events = []
    for number in range(60):
        wrong.shift = timedelta(seconds=-shifts[number % len(shifts)])
        events += lost.step().events
        clock.advance(5)
    assert [event.name for event in events].count("clock-skew") == 1


@pytest.mark.parametrize("days", [-1, 3, 8, 400])
def test_a_clock_that_jumps_while_nobody_can_be_asked_changes_nothing(cluster, clock, days):
    """Time goes on from the API server's last answer, whatever the wall clock does meanwhile."""
    jumping = TestClock(clock)
    lost = replica(cluster, jumping)
    settle(lost, clock=clock, seconds=20)
    leaf = lost.step().leaf
    cluster.down = True
    jumping.shift = timedelta(days=days)
    status = lost.step()
    assert status.ready
    assert status.leaf is leaf


@pytest.mark.parametrize("position", [1, 2, 3])
def test_nobody_with_an_old_view_takes_a_new_ca_out_of_the_bundle(cluster, clock, pair, position):
    """A replica that pauses before any of its requests undoes nothing of what happened then."""
    slow, quick = pair
    requests = iter(range(1, 10))

    def pause() -> None:
        if next(requests) == position:
            cluster.secret = None
            settle(quick, clock=clock, seconds=2)

    stranger = quick.step().leaf.certificate
    cluster.overwrite_bundle(live_bundle(cluster) + stranger)
    cluster.between = pause
    slow.step()
    live = {ca.fingerprint for ca in load_bundle(live_bundle(cluster))}
    assert live == {ca.fingerprint for ca in parse(cluster.secret.data).bundle(clock.now())}
    assert len(live) == 2


def test_a_ca_from_the_future_is_replaced(cluster, clock):
    """Made by somebody with a wrong clock, it is of no use to the API server."""
    signer = new_signer(clock.now() + YEAR, AUTHORITY_LIFETIME)
    cluster.overwrite_secret(ca_crt=signer.authority.certificate, ca_key=signer.key)
    one = replica(cluster)
    settle(one, clock=clock, seconds=10)
    assert cluster.trusts(one.step().leaf, LAG)


def test_events_carry_no_keys(cluster, clock):
    """What is logged is public."""
    one = replica(cluster)
    events = [event for _ in range(8) for event in (clock.advance(1), one.step())[1].events]
    assert [event.name for event in events] == [
        "authority-created",
        "bundle-written",
        "leaf-signed",
    ]
    assert "PRIVATE" not in repr(events) + repr(one.step()) + repr(cluster.secret)


DISTURBANCES = ["nothing", "delete", "garbage", "due", "newcomer", "down", "up", "pause"]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(DISTURBANCES), st.sampled_from([0, 1, 8, 65])), max_size=6),
    st.randoms(use_true_random=False),
)
def test_no_order_of_events_makes_a_client_fail(script, random):
    """Whatever happens to the Secret, however requests interleave, served leaves are trusted."""
    clock = TestClock()
    cluster = FakeCluster(clock)
    replicas = [replica(cluster), replica(cluster)]
    settle(*replicas, clock=clock, seconds=10)
    for what, seconds in script:
        disturb(what, cluster, replicas)
        for _ in range(seconds):
            interleave(cluster, replicas, random)
            clock.advance(1)
            for one in replicas:
                assert one._leaf is None or cluster.trusts(one._leaf, LAG)


def disturb(what: str, cluster: FakeCluster, replicas: list[Rotation]) -> None:
    """Do to the cluster what people and time do."""
    cluster.down = what == "down"
    if what == "delete":
        cluster.secret = None
    elif what == "garbage":
        cluster.overwrite_secret(ca_key=b"garbage")
    elif what == "due":
        live_through(*replicas, clock=cluster.clock, days=365 * 2 / 3)
    elif what == "newcomer" and len(replicas) < 4:
        replicas.append(replica(cluster))


def live_through(*replicas: Rotation, clock: TestClock, days: float) -> None:
    """Let so much time pass in steps that no leaf is over before its replica looks."""
    end = clock.now() + timedelta(days=days)
    while (left := end - clock.now()) > timedelta(0):
        clock.advance(min(left, timedelta(days=2)).total_seconds())
        for one in replicas:
            one.step()


def interleave(cluster: FakeCluster, replicas: list[Rotation], random) -> None:
    """One replica's round, with rounds of others between its requests."""
    one, *others = random.sample(replicas, len(replicas))
    cluster.between = lambda: random.random() < 0.4 and random.choice(others).step()
    one.step()
    cluster.between = lambda: None
    for other in others:
        if random.random() < 0.7:
            other.step()


def test_a_bundle_holds_cas_of_ours_only(cluster, clock, pair):
    """Adoption goes by name: a stranger in the live bundle isn't adopted."""
    stranger = pair[0].step().leaf.certificate
    cluster.overwrite_bundle(live_bundle(cluster) + stranger)
    cluster.secret = None
    settle(*pair, clock=clock, seconds=3)
    assert all(is_ours(ca) for ca in load_bundle(live_bundle(cluster)))
