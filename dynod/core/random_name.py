"""A name for an app that was given none, of Heroku's form: `quiet-harbor-48211`. Pure: chance comes from outside."""

from collections.abc import Callable, Iterator
from typing import Final

QUALITIES: Final = """
    amber ancient autumn blue bold brisk bronze calm clear cool copper coral crisp dawn deep distant eager early
    evening fair fresh frosty gentle golden grand green hidden hollow icy ivory jade keen kind late light little
    lively lucid mellow mild misty morning mossy narrow noble northern olive open pale patient placid plain proud
    quick quiet rapid rare red rolling round rustic salty sandy scarlet secret serene shady silent silver simple
    small snowy soft solid southern spring stark steady still stony summer sunny swift tall tidal tranquil upper
    velvet violet wandering warm western white wide wild windy winter wooden young
"""
THINGS: Final = """
    anchor arch basin bay beacon birch bluff branch breeze bridge brook canyon cave cedar cliff cloud coast cove
    crater creek delta dune dust elm falls fern field fjord flame forest fountain garden glacier glade gorge grove
    gulf harbor hill hollow horizon island lagoon lake lantern leaf ledge maple marsh meadow mesa mist moon moss
    mountain oak oasis ocean orchard path peak pebble pine plain plateau pond prairie rain ravine reef ridge
    river sea shore sky snow spruce star stone stream summit sun thicket thunder tide trail tundra valley wave
    willow wind wood
"""
NUMBERS: Final = 100_000


def random_app_names(below: Callable[[int], int]) -> Iterator[str]:
    """Names without end. `below(n)` gives a number from 0 up to n, n excluded."""
    qualities, things = QUALITIES.split(), THINGS.split()
    while True:
        yield f"{qualities[below(len(qualities))]}-{things[below(len(things))]}-{below(NUMBERS):05}"
