set -e
[ -e /var/lib/mysql/mysql ] || cp -R /opt/new/. /var/lib/mysql
exec mariadbd
