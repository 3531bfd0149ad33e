(ns httpkit.sockets-test
  "Sockets that others opened, Unix domain sockets and shared ports, and restarts that lose no connection."
  (:require [clojure.java.io    :as io]
            [clojure.java.shell :refer [sh]]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.subprocess :as subprocess]
            [httpkit.tls-certs  :as certs]
            [httpkit.tls-wire   :as tls]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server]
            [org.httpkit.server.sockets :as sockets])
  (:import [java.io File]
           [java.net BindException InetAddress ServerSocket]
           [java.nio.channels ServerSocketChannel]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute PosixFilePermissions]))

(set! *warn-on-reflection* true)

(defn- restarts
  "How often a test replaces its server: the system property httpkit.restarts (`./dev restarts N`), or `default`."
  ^long [default]
  (Long/getLong "httpkit.restarts" (long default)))

(defn- with-dir [f]
  (let [dir (.toFile (Files/createTempDirectory "httpkit-sockets" (make-array FileAttribute 0)))]
    (try
      (f dir)
      (finally (run! #(.delete ^File %) (reverse (file-seq dir)))))))

(defn- ok [_] {:status 200 :body "ok"})

(defn- get-unix [path]
  (:out (sh "curl" "-s" "--max-time" "60" "--unix-socket" (str path) "http://localhost/")))

;; Unix domain sockets

(deftest a-unix-socket-has-its-permissions-and-replaces-one-that-was-left
  (with-dir
    (fn [dir]
      (let [path (io/file dir "app.sock")]
        (dotimes [_ 2]
          (wire/with-server [s ok {:unix-socket path :unix-socket-mode 0600}]
            (is (= "ok" (get-unix path)))
            (is (= "rw-------" (PosixFilePermissions/toString
                                 (Files/getPosixFilePermissions (.toPath path) (make-array java.nio.file.LinkOption 0)))))
            (is (thrown? BindException (server/run-server ok {:unix-socket (str path)})) "a server is not replaced")))
        (is (.exists path))
        (is (thrown? BindException (server/run-server ok {:unix-socket path :unix-socket-replace? false})))))))

(deftest a-path-that-is-too-long-for-a-unix-socket-is-named-with-the-limit
  (let [path (str "/tmp/" (apply str (repeat 120 "s")))]
    (is (= (str "cannot listen on " path
             ": the path of a Unix domain socket has at most 107 bytes on Linux, 103 on macOS")
           (try (server/run-server ok {:unix-socket path})
                (catch java.io.IOException e (.getMessage e)))))))

(deftest a-path-that-the-locale-cannot-write-is-refused-and-no-other-is-listened-on
  (with-dir
    (fn [^File dir]
      (let [script (pr-str `(do (require 'org.httpkit.server)
                                (let [path# (str ~(str dir) "/" (char 252) ".sock")]
                                  (println (try (org.httpkit.server/run-server identity {:unix-socket path#})
                                                (catch IllegalArgumentException e#
                                                  (.replace (.getMessage e#) path# "PATH"))))
                                  (System/exit 0))))
            {:keys [out]} (subprocess/run script :env {"LC_ALL" "C"} :jvm-args subprocess/native-access)]
        (is (= ":unix-socket \"PATH\": in this locale, a path has only characters of US-ASCII; start Java with LC_ALL=C.UTF-8"
               out))
        (is (= [] (vec (.list dir)))))
      (testing "one that can write it"
        (let [path (str dir "/\u00fc.sock")]
          (wire/with-server [_ ok {:unix-socket path}]
            (is (= "ok" (get-unix path)))))))))

(deftest a-file-in-the-place-of-a-unix-socket-is-said-to-be-none
  (with-dir
    (fn [^File dir]
      (let [file   (doto (io/file dir "precious") (spit "x"))
            socket (io/file dir "app.sock")
            refused (fn [path opts]
                      (try (server/run-server ok (assoc opts :unix-socket path))
                           (catch BindException e (.getMessage e))))]
        (doseq [path [file dir], opts [{} {:unix-socket-replace? false}]]
          (is (= (str "cannot listen on " path ": the file exists and is no socket; delete it, or use another path")
                 (refused path opts))))
        (is (= "x" (slurp file)))
        (wire/with-server [_ ok {:unix-socket socket}]
          (is (str/starts-with? (refused socket {}) (str "cannot listen on " socket ": Address already in use"))))))))

(deftest a-symbolic-link-in-the-place-of-a-unix-socket-is-said-to-be-one-and-stays
  (with-dir
    (fn [^File dir]
      (let [socket (io/file dir "app.sock")
            link   (io/file dir "link.sock")]
        (wire/with-server [_ ok {:unix-socket socket}])
        (doseq [^File target [socket (io/file dir "none")], opts [{} {:unix-socket-replace? false}]]
          (Files/createSymbolicLink (.toPath link) (.toPath target) (make-array FileAttribute 0))
          (is (= (str "cannot listen on " link ": the file is a symbolic link; delete it, or use the path that it leads to")
                 (try (server/run-server ok (assoc opts :unix-socket link))
                      (catch BindException e (.getMessage e)))))
          (is (Files/isSymbolicLink (.toPath link)))
          (.delete link))
        (is (.exists socket))))))

(deftest the-options-of-a-unix-socket-hold-for-one-that-the-address-finder-returns
  (with-dir
    (fn [dir]
      (let [path   (io/file dir "found.sock")
            finder #(clojure.lang.Reflector/invokeStaticMethod ; Java 16
                      (Class/forName "java.net.UnixDomainSocketAddress") "of" (object-array [(str path)]))]
        (wire/with-server [_ ok {:address-finder finder :unix-socket-mode 0600}]
          (is (= "rw-------" (PosixFilePermissions/toString
                               (Files/getPosixFilePermissions (.toPath path) (make-array java.nio.file.LinkOption 0))))))
        (is (thrown? BindException (server/run-server ok {:address-finder finder})) "not asked for, as in http-kit")
        (wire/with-server [_ ok {:address-finder finder :unix-socket-replace? true}]
          (is (= "ok" (get-unix path))))))))

;; Ports that are shared

(deftest two-servers-share-a-port-if-both-say-so
  (wire/with-server [one ok {:port 0 :reuse-port? true}]
    (let [port (:port one)]
      (wire/with-server [_ ok {:port port :reuse-port? true}]
        (is (= "ok" (slurp (str "http://127.0.0.1:" port "/")))))
      (is (thrown? BindException (server/run-server ok {:port port}))))))

;; Sockets that others opened

(defn- refusal [options]
  (try
    (server/run-server ok options)
    (catch IllegalArgumentException e (.getMessage e))))

(deftest what-cannot-be-listened-on-is-refused-with-the-reason
  (with-open [channel (ServerSocketChannel/open), socket (ServerSocket. 0 1 (InetAddress/getLoopbackAddress))]
    (doseq [jdk [channel socket]]
      (is (str/includes? (refusal {:listen-socket jdk}) "the JDK does not give the descriptors of its sockets away"))))
  (is (= ":listen-socket 1 is not a listening socket" (refusal {:listen-socket 1})))
  (is (= ":listen-socket 999999 is not a listening socket" (refusal {:listen-socket {:fd 999999}})))
  (is (= ":listen-socket 1 is not a listening socket" (refusal {:listen-socket 1 :http? false :ssl-port 0 :tls (certs/pem "server")})))
  (is (= ":listen-socket :inherited: descriptor 0 is not a listening socket"
         (last (str/split-lines
                 (:out (subprocess/run "(require '[org.httpkit.server :as server])
                                        (println (try (server/run-server identity {:listen-socket :inherited})
                                                      (catch IllegalArgumentException e (.getMessage e))))"))))))
  (is (str/includes? (refusal {:listen-socket :systemd}) "no socket was passed to this process")))

(deftest a-service-manager-that-is-not-there-is-not-told
  (is (false? (server/notify-systemd! "READY=1")))
  (is (thrown-with-msg? IllegalArgumentException #"notify-systemd! of :ready: expected a String"
                        (server/notify-systemd! :ready))))

(def ^:private parent "tests/clojure/httpkit/socket_parent.py")

(defn- run-parent
  "Runs the Python program, which starts JVMs that serve on sockets of its own with `options`."
  [mode options]
  (let [script (format "(require '[org.httpkit.server :as server])
                        (server/run-server (fn [req] {:status 200 :body (str \"hello \" (:uri req))})
                                           (merge {:stop-on-shutdown? true :shutdown-timeout 30000} %s))
                        @(promise)"
                       (pr-str options))]
    (sh "python3" parent mode subprocess/java-command "-cp" (System/getProperty "java.class.path")
        "clojure.main" "-e" script
        :env (assoc (into {} (System/getenv)) "RESTARTS" (str (restarts 3))))))

(defn- says [expected {:keys [exit out err]}]
  (is (= [0 expected] [exit (str/trim out)]) err))

(deftest a-parent-passes-its-listening-socket
  (testing "by descriptor"
    (says "hello /x" (run-parent "descriptor" {:listen-socket 7})))
  (testing "as standard input"
    (says "hello /x" (run-parent "inherited" {:listen-socket :inherited})))
  (testing "as systemd does it, and hears that the server is ready"
    (says "READY=1 hello /x" (run-parent "systemd" {:listen-socket :systemd})))
  (testing "by the name that systemd gave it"
    (says "READY=0 hello /x" (run-parent "systemd" {:listen-socket {:name "http"}}))))

(deftest systemds-socket-https-is-the-tls-port
  (says "hello /tls hello /x" (run-parent "https" {:listen-socket :systemd :ssl? true :tls (certs/pem "server")})))

(defn- environment [names]
  {"LISTEN_PID" (str (.pid (java.lang.ProcessHandle/current))) "LISTEN_FDS" (str (count names)) "LISTEN_FDNAMES" (str/join ":" names)})

(deftest each-socket-of-systemd-is-for-what-it-is-called
  (let [both  {:listen-socket :systemd :ssl? true}
        plain {:listen-socket :systemd}
        only  {:listen-socket :systemd :ssl? true :http? false}]
    (doseq [[options names expected]
            [[plain ["app"]           {:plain 3}]
             [plain ["https" "http"]  {:plain 4}]
             [both  ["http" "https"]  {:plain 3 :tls 4}]
             [both  ["https" "http"]  {:plain 4 :tls 3}]
             [both  ["app"]           {:plain 3}]
             [both  ["x" "http"]      {:plain 4}]
             [only  ["app"]           {:tls 3}]
             [only  ["http" "https"]  {:tls 4}]
             [{:listen-socket 7 :ssl? true} ["https"]              {:plain 7}]
             [{:listen-socket 7 :ssl? true :http? false} ["https"] {:tls 7}]
             [{:listen-socket {:name "x"} :ssl? true} ["y" "x"]    {:plain 4}]
             [{} ["http"] {}]]]
      (is (= expected (sockets/descriptors options (environment names))) (pr-str options names)))
    (is (thrown-with-msg? IllegalArgumentException #"no socket with the name \"http\", but \"https\""
          (sockets/descriptors both (environment ["https"]))) "one socket cannot be both")
    (is (thrown-with-msg? IllegalArgumentException #"no socket with the name \"https\", but \"a\", \"b\""
          (sockets/descriptors only (environment ["a" "b"]))))))

(deftest what-systemd-did-not-pass-is-named-with-what-the-environment-says
  (let [refused (fn [env]
                  (try (sockets/descriptors {:listen-socket :systemd} env)
                       (catch IllegalArgumentException e (ex-message e))))
        none    (fn [why]
                  (str ":listen-socket :systemd: no socket was passed to this process (" why
                    "): start it from a .socket unit, or with systemd-socket-activate"))]
    (is (= (none "LISTEN_PID and LISTEN_FDS are not set") (refused {})))
    (is (= (none "LISTEN_FDS is not set") (refused {"LISTEN_PID" "1"})))
    (is (= (none "LISTEN_PID is not set") (refused {"LISTEN_FDS" "1"})))
    (is (= (none "LISTEN_FDS is \"0\"") (refused {"LISTEN_PID" "1" "LISTEN_FDS" "0"})))
    (is (= (none "LISTEN_FDS is \"x\"") (refused {"LISTEN_PID" "1" "LISTEN_FDS" "x"})))))

(deftest a-tls-port-is-beside-a-unix-socket
  (with-dir
    (fn [dir]
      (let [path (io/file dir "app.sock")]
        (wire/with-server [{:keys [server]} ok {:unix-socket path :ssl-port 0 :tls (certs/pem "server")}]
          (is (= ["ok" "ok"] [(get-unix path) (:body (tls/fetch (server/server-ssl-port server) "/"))]))
          (is (str/includes? (str server) (str "[" path ", running"))))))))

(deftest restarts-behind-a-socket-that-outlives-them-lose-no-connection
  (says "0 failed" (run-parent "restarts" {:listen-socket :systemd})))

(deftest restarts-on-a-shared-port-lose-no-connection
  (let [start  #(server/run-server ok {:port % :reuse-port? true :legacy-return-value? false})
        first! (start 0)
        port   (server/server-port first!)
        done   (atom false)
        failed (atom [])
        served (atom 0)
        client (fn []
                 (while (not @done)
                   (let [said (try (slurp (str "http://127.0.0.1:" port "/"))
                                   (catch java.io.IOException e (str e)))]
                     (if (= "ok" said)
                       (swap! served inc)
                       (swap! failed conj said)))))
        clients (doall (repeatedly 4 #(future (client))))]
    (try
      (let [last! (reduce (fn [old _]
                            (let [new    (start port)
                                  before @served]
                              (is (map? (deref (server/server-drain! old) 60000 :late)))
                              (is (wire/eventually #(< (+ 20 (long before)) (long @served))))
                              new))
                          first! (range (restarts 5)))]
        (reset! done true)
        (run! #(deref % 60000 :late) clients)
        (is (true? (deref (server/server-stop! last!) 60000 :late))))
      (finally (reset! done true)))
    (is (= {} (frequencies @failed)))
    (is (< 100 (long @served)))))
