"""`python -m outlast_cli`."""

from outlast_cli.main import main

if __name__ == "__main__":
    main()
