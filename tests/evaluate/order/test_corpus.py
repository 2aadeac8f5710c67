from trackyard.evaluate.order import corpus

NAMED = {
    "severity", "safety_constraint", "quantity", "certainty", "urgency", "specificity", "formality", "obligation",
    "risk_disclosure", "permission", "evidence_strength", "confidentiality", "temporal_scope",
}  # fmt: skip


def test_the_counts_of_the_specification() -> None:
    chains = corpus.chains()
    assert len(corpus.AXES) == 13
    assert set(corpus.AXES) == NAMED
    assert len(corpus.TOPICS) == 18
    assert len(chains) == 234
    assert {len(chain.sentences) for chain in chains} == {4}
    assert [sum(chain.fit is fit for chain in chains) for fit in (True, False)] == [169, 65]
    assert [len(corpus.pairs(fit=fit)) for fit in (True, False)] == [507, 195]


def test_pairs_are_neighbours_of_a_chain_and_cover_every_chain_once() -> None:
    pairs = corpus.pairs(fit=True) + corpus.pairs(fit=False)
    assert len(set(pairs)) == 702
    assert all(stronger == weaker + 1 and weaker % 4 < 3 for weaker, stronger in pairs)
    sentences, chains = corpus.sentences(), corpus.chains()
    for weaker, stronger in pairs:
        assert chains[weaker // 4].sentences[weaker % 4 : stronger % 4 + 1] == tuple(sentences[weaker : stronger + 1])


def test_what_is_scored_speaks_of_topics_that_were_not_fitted_on() -> None:
    fitted, scored = ({chain.topic for chain in corpus.chains() if chain.fit is fit} for fit in (True, False))
    assert not fitted & scored
    assert {chain.axis for chain in corpus.chains() if not chain.fit} == NAMED


def test_sentences_differ_and_are_short_sentences() -> None:
    sentences = corpus.sentences()
    assert len(set(sentences)) == 936
    for sentence in sentences:
        assert 35 <= len(sentence) <= 100, sentence
        assert sentence[0].isupper(), sentence
        assert sentence.endswith("."), sentence
        assert "  " not in sentence, sentence
        assert not set("{}") & set(sentence), sentence


def test_length_does_not_tell_the_level() -> None:
    sentences = corpus.sentences()
    for fit in (True, False):
        pairs = corpus.pairs(fit=fit)
        longer = sum(len(sentences[stronger]) > len(sentences[weaker]) for weaker, stronger in pairs)
        assert 0.45 < longer / len(pairs) < 0.55


def test_a_changed_text_needs_another_version() -> None:
    assert (corpus.VERSION, corpus.digest()[:16]) == (1, "1db6ae407c34bebd")
