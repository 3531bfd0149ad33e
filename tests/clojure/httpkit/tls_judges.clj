(ns httpkit.tls-judges
  "What scanners say of the TLS port, and new certificates under load: `./dev tls-judges`, since it takes minutes."
  (:require [clojure.java.io     :as io]
            [clojure.java.shell  :as shell]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is]]
            [httpkit.files       :as files]
            [httpkit.golden.json :as json]
            [httpkit.tls-certs   :as certs]
            [httpkit.wire        :as wire]
            [org.httpkit.server  :as server])
  (:import (java.io File)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :headers {"Strict-Transport-Security" "max-age=31536000"} :body "ok"})

(defmacro ^:private with-port
  "Runs `body` with the port of a server that has an ECDSA and an RSA certificate for localhost."
  [port & body]
  `(do
     (certs/issue "by-rsa" "DNS:localhost,IP:127.0.0.1" (certs/rsa 2048))
     (wire/with-server [server# ok {:ssl-port 0 :tls (mapv certs/pem ["server" "by-rsa"])}]
       (let [~port (server/server-ssl-port (:server server#))]
         ~@body
         (is (= [[] []] [@(:errors server#) @(:warnings server#)]))))))

;; Scanners

(def ^:private of-the-test-authority
  "Findings about certificates that a private authority signed for one month, and about headers that are an app's choice."
  #{"cert_chain_of_trust" "cert_trust" "cert_revocation" "cert_crlDistributionPoints" "cert_ocspURL" "cert_caIssuers"
    "cert_expirationStatus" "DNS_CAArecord" "cert_notAfter" "security_headers" "grade_cap_reason_1" "overall_grade"})

(deftest testssl-finds-nothing-above-low
  (with-port port
    (let [file (File/createTempFile "testssl" ".json")
          _    (.delete file)
          {:keys [out]} (shell/sh "testssl" "--quiet" "--color" "0" "--warnings" "off" "--ip" "one" "--add-ca" (certs/path "ca.pem")
                                  "--jsonfile" (str file) (str "localhost:" port))
          found (json/parse (slurp file))]
      (println (str/join "\n" (for [{:strs [id severity finding]} found :when (not (#{"OK" "INFO"} severity))]
                                (str "testssl: " severity " " id ": " finding))))
      (is (< 50 (count found)) out)
      (is (= [] (for [{:strs [id severity finding]} found
                      :when (and (#{"MEDIUM" "HIGH" "CRITICAL" "FATAL"} severity)
                                 (not (of-the-test-authority (first (str/split id #" ")))))]
                  [id severity finding]))))))

(deftest sslscan-finds-only-what-is-offered
  (with-port port
    (let [{:keys [out exit]} (shell/sh "sslscan" "--no-colour" "--xml=-" (str "127.0.0.1:" port))
          all (fn [element] (map (fn [text] (into {} (map (comp vec rest)) (re-seq #"(\S+)=\"([^\"]*)\"" text)))
                              (re-seq (re-pattern (str "<" element " [^>]*>")) out)))]
      (is (zero? exit))
      (is (= #{["tls" "1.2"] ["tls" "1.3"]}
             (set (for [{:strs [type version enabled]} (all "protocol") :when (= "1" enabled)] [type version]))))
      (is (seq (all "cipher")))
      (is (every? #(re-find #"GCM|CHACHA20" (get % "cipher")) (all "cipher")))
      (is (= #{"0"} (set (map #(get % "vulnerable") (all "heartbleed")))))
      (is (every? #(= "0" (get % "supported")) (all "compression"))))))

;; New certificates under load

(def ^:private load-program
  "New connections at a steady rate, without resumption, each with one request: prints how many, failures and seconds."
  "package main

import (
\t\"crypto/tls\"
\t\"fmt\"
\t\"io\"
\t\"os\"
\t\"strconv\"
\t\"sync\"
\t\"sync/atomic\"
\t\"time\"
)

func main() {
\taddress, rate := os.Args[1], 1000
\tseconds, _ := strconv.Atoi(os.Args[2])
\tconfig := &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}}
\tvar failed atomic.Int64
\tvar group sync.WaitGroup
\tslots := make(chan bool, 200)
\tstart := time.Now()
\tfor i := 0; i < rate*seconds; i++ {
\t\ttime.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
\t\tslots <- true
\t\tgroup.Add(1)
\t\tgo func() {
\t\t\tdefer func() { <-slots; group.Done() }()
\t\t\tconnection, err := tls.Dial(\"tcp\", address, config)
\t\t\tif err == nil {
\t\t\t\tdefer connection.Close()
\t\t\t\tfmt.Fprint(connection, \"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n\")
\t\t\t\tanswer, e := io.ReadAll(connection)
\t\t\t\tif err = e; err == nil && (len(answer) < 12 || string(answer[9:12]) != \"200\") {
\t\t\t\t\terr = fmt.Errorf(\"answer %q\", answer)
\t\t\t\t}
\t\t\t}
\t\t\tif err != nil && failed.Add(1) < 4 {
\t\t\t\tfmt.Fprintln(os.Stderr, err)
\t\t\t}
\t\t}()
\t}
\tgroup.Wait()
\tfmt.Println(rate*seconds, failed.Load(), time.Since(start).Seconds())
}
")

(defn- renaming
  "A folder with the first certificate, and what puts another into its place by renames."
  []
  (let [folder (files/temporary-directory)]
    (certs/put! folder "server")
    [folder #(certs/put! folder %)]))

(deftest a-thousand-new-connections-a-second-while-files-are-swapped
  (let [program (io/file (files/temporary-directory) "load")
        source  (str program ".go")]
    (spit source load-program)
    (is (zero? (:exit (shell/sh "go" "build" "-o" (str program) source :env (assoc (into {} (System/getenv)) "GO111MODULE" "off")))))
    (doseq [[how make] {"rename" renaming, "symbolic link" certs/linking}
            :let [[folder swap!!] (make)]]
      (wire/with-server [{:keys [server events errors]} ok
                         {:ssl-port 0 :keystore-scan-interval 1
                          :tls {:cert (str (io/file folder "tls.pem")) :key (str (io/file folder "tls.key"))}}]
        (let [load    (future (shell/sh (str program) (str "127.0.0.1:" (server/server-ssl-port server)) "10"))
              reloads #(count (filter #{"httpkit.server.tls.reload"} @events))]
          (doseq [[at name] (map-indexed vector ["other" "server" "other" "server"])]
            (swap!! name)
            (is (wire/eventually #(< (long at) (long (reloads)))) name))
          (let [{:keys [out err]} @load
                [n failed seconds] (map parse-double (str/split (str/trim out) #" "))]
            (println (format "by %s: %.0f new connections in %.1f s, %.0f a second; %.0f failed; %d reloads"
                       how n seconds (/ (double n) (double seconds)) failed (reloads)))
            (is (= 0.0 failed) err)
            ;; A look may fall between two renames: then the key does not belong to the certificate, for one second.
            (is (every? #(str/includes? (first %) "does not belong to the certificate") @errors))))))))
