"""`hamcache` and `python -m hamcache`: the command line."""


def main() -> None:
    """Run the command line; Ctrl-C is quiet while it is still imported, too."""
    try:
        from hamcache.pipeline.cli.app import main as run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
