"""The embedded name tagger: persons, places, organizations and nationalities in English and Chinese, on a CPU."""
