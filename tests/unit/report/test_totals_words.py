"""What the report says of totals: the shares in words, or nothing where nothing was measured."""

from foretail.report.totals import totals_words


def test_shares_in_words():
    found = {"joint": 0.793, "summed": 0.97, "independent": 0.49, "group": 0.75, "n": 1200}
    words = totals_words({"totals": found}).replace("\u00a0", " ")
    for told in ("1,200 totals", "79.3", "97.0", "49.0", "75.0"):
        assert told in words


def test_a_table_of_one_series_has_no_groups():
    words = totals_words({"totals": {"joint": 0.8, "summed": 0.9, "independent": 0.5, "group": None, "n": 2}})
    assert "groups" not in words and "80.0" in words.replace("\u00a0", " ")


def test_nothing_measured_nothing_said():
    assert totals_words({}) == totals_words({"totals": {"n": 0}}) == ""
