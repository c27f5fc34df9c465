"""Everyday words and the names that they are known by."""

from __future__ import annotations

import pytest

from avel_cli.encoders.vocabulary import match, picture_classes
from avel_cli.errors import UsageError
from avel_cli.hub import registry, weights_file

# phrase, names of all sounds, names of pictures: all of them, or the first and how many there are
PHRASES = [
    ("glass breaking", "Glass; Shatter", ""),
    ("a dog barking", "Dog; Bark; Canidae, dogs, wolves", "Chihuahua +117"),
    ("church bells", "Church bell", "bell cote; chime; church"),
    ("lawnmower", "Lawn mower", "lawn mower"),
    ("a baby crying", "Baby cry, infant cry", "bassinet +6"),
    ("people talking", "Speech", "speech_person (our own)"),
    ("A man speaking!", "Male speech, man speaking", "speech_person (our own)"),
    ("the crowd is cheering", "Cheering; Crowd", ""),
    ("applause", "Clapping; Applause", ""),
    ("phone ringing", "Telephone; Telephone bell ringing; Ringtone", "cellular telephone; dial telephone; pay-phone"),
    ("horn", "Vehicle horn, car horn, honking; Toot; Air horn, truck horn; Train horn", "cornet; French horn"),
    ("a forklift reversing", "Reversing beeps", "forklift"),
    ("helicopter", "Helicopter", "helicopter (our own)"),
    ("an airplane taking off", "Fixed-wing aircraft, airplane", "airliner; warplane; airplane (our own)"),
    ("train passing by", "Train", "bullet train +5"),
    ("motorbike", "Motorcycle", "moped; motor scooter; motorcycle (our own)"),
    ("fire engine siren", "Fire engine, fire truck (siren); Siren", "ambulance; fire engine; police van"),
    ("rain on the roof", "Rain", ""),
    ("thunder", "Thunderstorm; Thunder", ""),
    ("ocean waves", "Ocean; Waves, surf", "promontory; sandbar; seashore"),
    ("toilet flushing", "Toilet flush", "toilet seat"),
    ("typing on a keyboard", "Typing; Computer keyboard", "computer keyboard +5"),
    ("vacuum cleaner", "Vacuum cleaner", "vacuum"),
    ("hair-dryer", "Hair dryer", "hand blower"),
    ("chainsaw", "Chainsaw", "chain saw"),
    ("hammering", "Hammer", "hammer"),
    ("fireworks", "Fireworks", ""),
    ("playing the violin", "Violin, fiddle", "violin"),
    ("someone playing piano", "Piano", "grand piano; upright; piano (our own)"),
    ("drums", "Percussion; Drum kit; Drum", "drum; drumstick"),
    ("coughing", "Cough", ""),
    ("a rooster's crowing", "Chicken, rooster; Crowing, cock-a-doodle-doo", "cock; rooster_chicken (our own)"),
    ("horse galloping", "Horse", "sorrel; horse cart"),
    ("cow mooing", "Cattle, bovinae; Moo", "ox; water buffalo"),
    ("frogs croaking", "Frog; Croak", "bullfrog; tree frog; tailed frog"),
    ("footsteps", "Walk, footsteps", ""),
    ("knocking on a door", "Knock", ""),
    ("water running", "Water; Water tap, faucet; Sink (filling or washing)", "bathtub; tub; washbasin"),
    ("clock ticking", "Clock; Tick; Tick-tock", "analog clock +4"),
    ("lions roaring", "Roaring cats (lions, tigers); Roar", "lion"),
    ("goldfish", "", "goldfish"),
    ("coffee mug", "", "coffee mug"),
]


def told(names: tuple[str, ...], wanted: str) -> str:
    """The names as the table has them."""
    return f"{names[0]} +{len(names) - 1}" if "+" in wanted else "; ".join(names)


@pytest.mark.parametrize(("phrase", "heard", "seen"), PHRASES, ids=[row[0] for row in PHRASES])
def test_everyday_phrases_are_answered_with_these_names(phrase: str, heard: str, seen: str) -> None:
    (found,) = match([phrase])
    assert sorted(told(found.heard_as, heard).split("; ")) == sorted(heard.split("; "))
    assert sorted(told(found.seen_as, seen).split("; ")) == sorted(seen.split("; "))


def test_phrases_keep_their_order_and_count_once() -> None:
    assert [found.phrase for found in match(["rain", "a  dog", "rain", "a dog"])] == ["rain", "a dog"]


def test_the_line_about_a_phrase_says_what_answers() -> None:
    assert str(match(["glass breaking"])[0]) == (
        '"glass breaking": heard as Glass, Shatter; no picture is called so, the sound decides'
    )
    assert str(match(["goldfish"])[0]) == '"goldfish": no sound is called so, the picture decides; seen as goldfish'
    assert str(match(["a shiny red car"])[0]).endswith("nothing is known of shiny, red")
    assert str(match(["dog"])[0]).endswith("Blenheim spaniel and 112 more")


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        (["dog", "elefant"], 'no known name is like "elefant"; the nearest are "elephant"'),
        (["quantum foam"], '^no known name is like "quantum foam"$'),
        (["qqq", "a saxofone"], 'like "qqq"; no known name is like "a saxofone"; the nearest are "saxophone"'),
        (["people booing"], 'no known name is like "people booing"'),
        (["the"], 'no known name is like "the"'),
        ([" "], "one of the words is empty"),
        (["dog " * 60], "200 at most"),
    ],
)
def test_what_no_name_is_like_is_one_error_with_the_nearest_names(phrases: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        match(phrases)


def test_picture_classes_are_those_of_the_head_in_the_weights() -> None:
    header = weights_file.read_header(registry.model("cace-net.starter").path)
    outputs = dict(zip(header["labels"], header["config"]["tags"]["pictures"], strict=True))
    assert outputs["helicopter"] == [picture_classes().index("helicopter")]
    assert outputs["speech"] == [picture_classes().index("speech_person")]
