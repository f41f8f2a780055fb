"""The bundle on disk: its manifest, its graphs' signatures, its token embedding."""
