@echo off
rem Sets everything up and measures; the servers that it needs run on Linux and macOS only.
call "%~dp0bootstrap.bat" benchmark %*
exit /b %ERRORLEVEL%
