"""One constant ruleset; Services and backends are elements of its maps and sets."""
