"""Where lists come from (``fetch``), where they are kept (``store``), and how they change (``update``)."""
