"""Sequential detection and windows."""

from itertools import pairwise

from fusefs.read.readahead import ReadAhead, cut

KiB, MiB = 1024, 1024 * 1024
FIRST, PART, WINDOW, SIZE = 128 * KiB, 8 * MiB, 64 * MiB, 1024 * MiB


def windows(stream: ReadAhead, reads: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is planned after each (offset, length)."""
    planned = []
    for offset, length in reads:
        cursor, _ = stream.note(offset, offset + length)
        start, stop, _piece = stream.plan(cursor, SIZE, WINDOW)
        planned.append((start, stop - start))
    return planned


def test_the_window_grows_with_the_run_up_to_its_limit() -> None:
    """Plans reach up to four times as far as was read, without gap or overlap."""
    stream = ReadAhead(FIRST, PART)
    planned = [p for p in windows(stream, [(n * FIRST, FIRST) for n in range(2000)]) if p[1]]
    assert planned[0] == (2 * FIRST, 6 * FIRST)
    assert all(start + length <= max(10 * FIRST, 5 * start) for start, length in planned)
    assert all(a[0] + a[1] == b[0] for a, b in pairwise(planned))
    assert max(length for _, length in planned) <= WINDOW
    assert {length for _, length in planned[-10:]} == {PART}
    assert len(planned) < 70


def test_what_is_read_ahead_ends_where_parts_of_objects_do() -> None:
    """At multiples of the pieces, which are powers of two, wherever the run began."""
    stream, begin = ReadAhead(FIRST, PART), 3 * MiB + 5 * KiB
    pieces: list[tuple[int, int]] = []
    for at in range(begin, begin + 200 * MiB, FIRST):
        cursor, _ = stream.note(at, at + FIRST)
        start, stop, piece = stream.plan(cursor, SIZE, WINDOW)
        assert piece.bit_count() == 1
        pieces += cut(start, stop, piece, aligned=True)
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    assert all(stop % MiB == 0 for _, stop in pieces)
    assert all(piece in {(n * PART, n * PART + PART) for n in range(128)} for piece in pieces[-8:])


def test_a_range_that_is_waited_for_is_cut_from_its_start() -> None:
    """A miss at the border of two parts is one request."""
    assert list(cut(7 * MiB, 9 * MiB, 8 * MiB, aligned=False)) == [(7 * MiB, 9 * MiB)]
    assert list(cut(7 * MiB, 9 * MiB, 8 * MiB, aligned=True)) == [
        (7 * MiB, 8 * MiB),
        (8 * MiB, 9 * MiB),
    ]


def test_nothing_is_planned_for_a_single_read() -> None:
    """One read of any size tells nothing about the next."""
    assert windows(ReadAhead(FIRST, PART), [(0, MiB)]) == [(MiB, 0)]


def test_nothing_is_planned_for_a_header_read_in_bits() -> None:
    """A few small reads in a row stay inside the first block."""
    reads = [(n * 4096, 4096) for n in range(8)]
    assert all(length == 0 for _, length in windows(ReadAhead(FIRST, PART), reads))


def test_nothing_is_planned_for_random_reads() -> None:
    """Jumping around never starts reading ahead."""
    reads = [(n * 37 % 101 * 7 * MiB, 64 * KiB) for n in range(100)]
    assert all(length == 0 for _, length in windows(ReadAhead(FIRST, PART), reads))


def test_a_jump_is_told_and_the_old_place_is_remembered() -> None:
    """Coming back to where a run stopped goes on with its window."""
    stream = ReadAhead(FIRST, PART)
    windows(stream, [(n * FIRST, FIRST) for n in range(8)])
    here, jumped = stream.note(8 * FIRST, 9 * FIRST)
    assert not jumped
    assert stream.note(500 * MiB, 501 * MiB)[1]
    back, jumped = stream.note(9 * FIRST, 10 * FIRST)
    assert not jumped
    assert back is here


def test_the_plan_ends_at_the_end_of_the_object() -> None:
    """Nothing is planned past the size."""
    stream = ReadAhead(FIRST, PART)
    stream.note(0, FIRST)
    cursor, _ = stream.note(FIRST, 2 * FIRST)
    assert stream.plan(cursor, 2 * FIRST + 5, WINDOW)[:2] == (2 * FIRST, 2 * FIRST + 5)
    assert stream.plan(cursor, 2 * FIRST + 5, WINDOW)[0] == 2 * FIRST + 5


def test_what_was_given_up_is_planned_again() -> None:
    """After a rewind the next plan starts there."""
    stream = ReadAhead(FIRST, PART)
    windows(stream, [(n * FIRST, FIRST) for n in range(20)])
    cursor, _ = stream.note(20 * FIRST, 21 * FIRST)
    stream.rewind(22 * FIRST)
    assert stream.plan(cursor, SIZE, WINDOW)[0] == 22 * FIRST


def test_old_places_are_forgotten() -> None:
    """A handle read at random keeps few cursors."""
    stream = ReadAhead(FIRST, PART)
    windows(stream, [(n * 10 * MiB, 4096) for n in range(50)])
    assert stream.note(4096, 8192)[1]
