from src.cli import command
from src.config import Config
def run(config, overrides): print(config, overrides)
main = command(run, schema=Config)
if __name__ == "__main__":
    main()
