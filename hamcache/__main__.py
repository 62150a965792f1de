"""`python -m hamcache`: the command line."""

from hamcache.pipeline.cli.app import main

if __name__ == "__main__":
    main()
