(ns httpkit.nginx
  "Configurations of nginx."
  (:require [clojure.string :as str]))

(defn proxy-config
  "Of a proxy at `port` for servers at the ports `upstreams`, with its files in `dir`. It keeps up to `keepalive`
  connections to them; `options` are those of each server."
  [dir port upstreams & {:keys [options keepalive]}]
  (str "worker_processes 1; daemon off; pid " dir "/pid; error_log " dir "/error.log;\n"
       "events { worker_connections 1000; }\n"
       "http { access_log off; keepalive_requests 1000000;\n"
       (str/join (for [kind ["client_body" "proxy" "fastcgi" "uwsgi" "scgi"]]
                   (str kind "_temp_path " dir "/" kind ";\n")))
       "upstream app { " (str/join (for [p upstreams] (str "server 127.0.0.1:" p " " options "; "))) "keepalive " keepalive "; }\n"
       "server { listen 127.0.0.1:" port ";\n"
       "  location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; } } }\n"))
