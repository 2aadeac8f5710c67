"""trackyard: three foundation-model studies, one graph, one record."""

__version__ = "0.1.0"
