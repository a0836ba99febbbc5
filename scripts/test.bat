@echo off
rem Sets everything up and runs every check and test; with arguments, pytest alone with these.
call "%~dp0bootstrap.bat" test %*
exit /b %ERRORLEVEL%
