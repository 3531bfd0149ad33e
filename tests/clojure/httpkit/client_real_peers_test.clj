(ns httpkit.client-real-peers-test
  "The client against servers that others wrote: nginx, and tinyproxy between them.
  What is not on the machine is left out, and said so."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.client-certs :as certs]
            [httpkit.client-peer :as peer]
            [httpkit.files :as files]
            [httpkit.wire :as wire]
            [org.httpkit.client :as client])
  (:import [java.io File FileInputStream InputStream]
           [java.net ConnectException Socket]
           [java.security KeyStore]
           [java.util Base64]
           [java.util.concurrent CountDownLatch Semaphore TimeUnit]))

(defn- program [& paths]
  (first (filter #(.canExecute (File. ^String %)) paths)))

(def ^:private nginx (program "/usr/sbin/nginx" "/usr/local/sbin/nginx" "/opt/homebrew/bin/nginx"))
(def ^:private tinyproxy (program "/usr/bin/tinyproxy" "/usr/sbin/tinyproxy" "/usr/local/bin/tinyproxy"))

(defmacro ^:private needing [program what & body]
  `(if ~program
     (do ~@body)
     (println "left out:" ~what "is not on this machine")))

(defn- listening? [port]
  (try (.close (Socket. "127.0.0.1" (int port))) true
       (catch ConnectException _ false)))

(defn- start ^Process [port command]
  (let [process (-> (ProcessBuilder. ^java.util.List command)
                    (.redirectErrorStream true)
                    (.redirectOutput (File. "/dev/null"))
                    (.start))]
    (when-not (peer/eventually #(or (listening? port) (not (.isAlive process))))
      (.destroyForcibly process))
    (is (.isAlive process) (str (first command) " runs"))
    process))

(defn- stop [^Process process]
  (.destroy process)
  (.waitFor process 10 TimeUnit/SECONDS))

(defn- pem [type ^bytes der]
  (str "-----BEGIN " type "-----\n"
       (.encodeToString (Base64/getMimeEncoder 64 (.getBytes "\n")) der)
       "\n-----END " type "-----\n"))

(defn- write-pem! [dir key-store alias]
  (let [password (.toCharArray ^String certs/password)
        store    (KeyStore/getInstance "PKCS12")]
    (with-open [in (FileInputStream. ^String key-store)] (.load store in password))
    (spit (io/file dir "key.pem") (pem "PRIVATE KEY" (.getEncoded (.getKey store alias password))))
    (spit (io/file dir "cert.pem") (str/join (map #(pem "CERTIFICATE" (.getEncoded ^java.security.cert.Certificate %))
                                                  (.getCertificateChain store alias))))))

(def ^:private page (apply str (repeat 3000 "nginx says hello. ")))

(defn- nginx-config [dir port tls-port]
  (str "worker_processes 1; daemon off; pid " dir "/pid; error_log " dir "/error.log;\n"
       "events { worker_connections 2000; }\n"
       "http { access_log off; keepalive_requests 1000000; client_max_body_size 100m;\n"
       (str/join (for [kind ["client_body" "proxy" "fastcgi" "uwsgi" "scgi"]]
                   (str kind "_temp_path " dir "/" kind ";\n")))
       "server { listen 127.0.0.1:" port "; listen 127.0.0.1:" tls-port " ssl;\n"
       "  ssl_certificate " dir "/cert.pem; ssl_certificate_key " dir "/key.pem;\n"
       "  gzip on; gzip_types text/plain; gzip_min_length 100; root " dir "/www;\n"
       "  location = /hello { default_type text/plain; return 200 hello; }\n"
       "  location = /moved { return 302 /hello; } } }\n"))

(defmacro ^:private with-nginx
  "Binds the URLs of an nginx without and with TLS."
  [[http https] & body]
  `(let [dir# (files/readable-directory) port# (wire/free-port) tls# (wire/free-port)
         ~http (str "http://127.0.0.1:" port#) ~https (str "https://localhost:" tls#)]
     (write-pem! dir# (certs/signed "localhost" "dns:localhost") "localhost")
     (.mkdirs (io/file dir# "www"))
     (spit (io/file dir# "www" "page.txt") page)
     (spit (io/file dir# "nginx.conf") (nginx-config dir# port# tls#))
     (let [process# (start port# [nginx "-p" (str dir#) "-c" (str (io/file dir# "nginx.conf"))])]
       (try ~@body (finally (stop process#))))))

(deftest nginx-serves-us
  (needing nginx "nginx"
    (with-nginx [http https]
      (testing "plain, gzip, redirects"
        (is (= "hello" (:body @(client/get (str http "/hello")))))
        (is (= "hello" (:body @(client/get (str http "/moved")))))
        (let [{:keys [body headers]} @(client/get (str http "/page.txt"))]
          (is (= page body))
          (is (= "gzip" (:content-encoding headers))))
        (is (= page (slurp (:body @(client/get (str http "/page.txt") {:as :stream})))))
        (is (= "" (:body @(client/head (str http "/page.txt")))))
        (is (= 206 (:status @(client/get (str http "/page.txt") {:headers {"Range" "bytes=0-3"} :auto-compression? false})))))
      (testing "TLS by both ways"
        (is (= page (:body @(client/get (str https "/page.txt") {:insecure? true}))))
        (is (= page (:body @(client/get (str https "/page.txt") {:sslengine (client/make-ssl-engine (certs/context nil))}))))))))

(deftest many-requests-share-their-connections
  (needing nginx "nginx"
    (with-nginx [http _]
      (let [n       20000
            at-once 64
            c       (client/make-client {})
            permits (Semaphore. at-once)
            done    (CountDownLatch. n)
            wrong   (atom [])]
        (dotimes [_ n]
          (.acquire permits)
          (client/get (str http "/hello") {:client c}
                      (fn [{:keys [body] :as response}]
                        (when (not= "hello" body) (swap! wrong conj response))
                        (.release permits)
                        (.countDown done))))
        (is (.await done 60 TimeUnit/SECONDS))
        (is (empty? @wrong))
        (let [{:keys [opened requests active]} (client/client-stats c)]
          (is (<= 1 opened at-once))
          (is (= n requests))
          (is (zero? active)))
        (client/client-stop! c)))))

(defmacro ^:private with-tinyproxy [[url & config] & body]
  `(let [port# (wire/free-port)
         file# (io/file (files/readable-directory) "tinyproxy.conf")
         ~url (str "http://127.0.0.1:" port#)]
     (spit file# (str/join "\n" (concat [(str "Port " port#) "Listen 127.0.0.1" "Timeout 60" "Allow 127.0.0.1"]
                                        [~@config ""])))
     (let [process# (start port# [tinyproxy "-d" "-c" (str file#)])]
       (try ~@body (finally (stop process#))))))

(deftest tinyproxy-stands-between
  (needing (and nginx tinyproxy) "nginx or tinyproxy"
    (with-nginx [http https]
      (with-tinyproxy [proxy]
        (testing "absolute-form"
          (is (= page (:body @(client/get (str http "/page.txt") {:proxy-url proxy}))))
          ;; A connection of its own: tinyproxy ends the other one without having said so, and a POST that
          ;; meets that is not repeated.
          (is (= 200 (:status @(client/post (str http "/hello") {:proxy-url proxy :body "x" :keepalive 0})))))
        (testing "tunnels"
          (dotimes [_ 2]
            (is (= page (:body @(client/get (str http "/page.txt") {:proxy-url proxy :proxy-tunnel? true}))))
            (is (= page (:body @(client/get (str https "/page.txt")
                                            {:proxy-url proxy :proxy-tunnel? true :insecure? true}))))))
        (testing "a tunnel with the JDK's TLS"
          (is (= page (:body @(client/get (str https "/page.txt")
                                          {:proxy-url proxy :proxy-tunnel? true
                                           :sslengine (client/make-ssl-engine (certs/context nil))}))))))
      (with-tinyproxy [proxy "BasicAuth user secret"]
        (let [with-password (str/replace proxy "http://" "http://user:secret@")]
          (doseq [opts [{} {:proxy-tunnel? true}]]
            (is (= "hello" (:body @(client/get (str http "/hello") (assoc opts :proxy-url with-password))))))
          (is (= 407 (:status @(client/get (str http "/hello") {:proxy-url proxy}))))
          (let [{:keys [status error]} @(client/get (str http "/hello") {:proxy-url proxy :proxy-tunnel? true})]
            (is (nil? status))
            (is (str/includes? (str (ex-message error)) "407"))))))))
