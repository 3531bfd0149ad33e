(ns httpkit.locale-test
  "The JVM's language has no say: HTTP is written in ASCII, and in Turkish I and i are no pair.

  `./dev clojure-test` runs all tests in Turkish too, see its usage."
  (:require [clojure.edn        :as edn]
            [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.subprocess :as subprocess])
  (:import (java.io File)))

(set! *warn-on-reflection* true)

;; Sources

(def ^:private default-locale
  "What asks for the JVM's default locale."
  [#"\.to(?:Lower|Upper)Case\(\s*\)"
   #"::to(?:Lower|Upper)Case"
   #"\b(?:String\.format|printf)\((?!\s*Locale\.)"
   #"\bofPattern\((?![^;]*Locale\.)"
   #"\.formatted\("
   #"\bnew (?:SimpleDateFormat|DecimalFormat|Formatter|Scanner)\("
   #"\.to(?:Lower|Upper)Case\b(?!\()(?!.*Locale/ROOT)"
   #"\b(?:str|string)/(?:lower-case|upper-case|capitalize)\b"
   #"\(\s*(?:format|printf)\s"])

(defn- sources []
  (for [dir ["clojure" "java"]
        ^File f (file-seq (io/file dir))
        :when (re-find #"\.(clj|java)$" (.getName f))]
    f))

(defn- faults [text]
  (mapcat #(re-seq % text) default-locale))

(deftest changes-of-letter-case-and-formats-name-their-locale
  (is (< 60 (count (sources))))
  (doseq [^File f (sources)]
    (is (= [] (faults (slurp f))) (.getPath f))))

(deftest the-patterns-find-what-they-are-for
  (doseq [bad ["x.toLowerCase()" "a(b).toUpperCase( )" "map(String::toLowerCase)" "String.format(\"%d\", 1)"
               "out.printf(\"%s\", 1)" "\"%d\".formatted(1)" "new SimpleDateFormat(\"d\")" "DateTimeFormatter.ofPattern(\"d\")"
               "(.toLowerCase s)" "(.toUpperCase ^String s)" "(.toLowerCase (str k))" "(str/lower-case k)" "(map str/upper-case ks)" "(str/capitalize k)" "(format \"%d\" 1)"]]
    (is (= 1 (count (faults bad))) bad))
  (doseq [good ["x.toLowerCase(Locale.ROOT)" "String.format(Locale.ROOT, \"%d\", 1)" "out.printf(Locale.ROOT, \"%s\", 1)" "out.printf(\n  Locale.ROOT, \"%s\", 1)"
                "FORMAT.format(now)" "DateTimeFormatter.ofPattern(\"d\", Locale.ROOT)"
                "(.toLowerCase s Locale/ROOT)" "(.toLowerCase ^String s Locale/ROOT)" "(.toUpperCase (name m) Locale/ROOT)"
                "(some-> ^String % (.toLowerCase Locale/ROOT))"]]
    (is (= [] (faults good)) good)))

;; A whole JVM in Turkish

(def ^:private in-turkish
  "Prints what a server and a client do that could depend on the language."
  '(do
     (require '[org.httpkit.server :as server] '[org.httpkit.client :as http])
     (let [seen   (atom [])
           other  (server/run-server (fn [req] (swap! seen conj (:headers req)) {:status 200})
                                     {:port 0 :ip "127.0.0.1" :legacy-return-value? false})
           server (server/run-server
                    (fn [req]
                      (swap! seen conj (:headers req))
                      (case (:uri req)
                        "/away" {:status 302 :headers {"location" (str "http://127.0.0.1:" (server/server-port other) "/")}}
                        {:status 200 :headers {"content-type" "text/plain" "content-disposition" "inline" "X-ID" "1"} :body (str (:request-method req))}))
                    {:port 0 :ip "127.0.0.1" :legacy-return-value? false})
           url     (str "HTTP://127.0.0.1:" (server/server-port server))
           capital {"AUTHORIZATION" "secret" "COOKIE" "a=b" "PROXY-AUTHORIZATION" "p" "X-I" "kept"}
           calls   [(http/get (str url "/") {:oauth-token "t" :headers {"AUTHORIZATION" "old"}})
                    (http/get (str url "/away") {:headers capital})
                    (http/request {:url (str url "/") :method :propfind})]
           calls   (mapv (fn [call]
                           (let [{:keys [status headers body error]} @call]
                             {:status status :headers (dissoc headers :date) :body (when (string? body) body) :error (str error)}))
                         calls)]
       (prn {:language (.getLanguage (java.util.Locale/getDefault))
             :status   (server/server-status server)
             :print    (boolean (re-find #"running" (str server)))
             :calls    calls
             :seen     (mapv (fn [headers] (select-keys headers ["authorization" "cookie" "proxy-authorization" "x-i"])) @seen)})
       @(server/server-stop! server)
       @(server/server-stop! other)
       (shutdown-agents))))

(deftest server-and-client-speak-ascii-in-a-turkish-jvm
  (let [{:keys [exit out]} (subprocess/run (pr-str in-turkish) :jvm-args ["-Duser.language=tr" "-Duser.country=TR"])
        result (edn/read-string (last (str/split-lines out)))]
    (is (= 0 exit) out)
    (is (= "tr" (:language result)))
    (is (= :running (:status result)))
    (is (= true (:print result)))
    (is (= #{{"authorization" "Bearer t"}
             {"authorization" "secret" "cookie" "a=b" "x-i" "kept"}
             {"x-i" "kept"}
             {}}
           (set (:seen result)))
        "credentials stay with their origin, and there is one Authorization")
    (is (= [200 200 200] (map :status (:calls result))) out)
    (is (= [":get" nil ":propfind"] (map #(not-empty (:body %)) (:calls result))))
    (is (= {:content-type "text/plain" :content-disposition "inline" :content-length "4" :server "http-kit" :x-id "1"}
           (:headers (first (:calls result)))))))
