@echo off
rem Finds a Python that is new enough and hands over to bootstrap.py.
setlocal
cd /d "%~dp0.."
for %%P in ("py -3" python python3) do (
    %%~P -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul && set "PYTHON=%%~P" && goto found
)
echo Python 3.11 or newer is needed: https://www.python.org/downloads/ 1>&2
exit /b 1
:found
%PYTHON% scripts\bootstrap.py %*
exit /b %ERRORLEVEL%
