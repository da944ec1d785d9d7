"""The prefilter: which patterns need to be tried where in a text. It changes no find, only the time that finding takes.

pattern_tree.py     reads a regular expression as a tree; alone in knowing the `regex` package's parser
pattern_sizes.py    \\
literals.py          | what follows from the tree: lengths and digits, words and rare characters, patterns over shapes,
text_shapes.py       | and how long an attempt can take
backtracking.py     /
requirements.py     all of that for one pattern
shipped.py          the same of the shipped patterns, read off them beforehand
shape_index.py      which patterns fit the shape of a text at a place
strategies.py       searches for places by digits, runs, marks and literals; the Protocol of all strategies
word_search.py      searches for places by words
matching.py         the prefilter itself, and the switch that turns it off
"""
