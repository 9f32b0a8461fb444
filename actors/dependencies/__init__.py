"""Dependencies: which runs wait for which, and what is handed on."""
